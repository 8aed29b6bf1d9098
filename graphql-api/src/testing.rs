//! What tests inside this room share.

use std::sync::Arc;

use ontology::{Ontology, Pack, Source};
use twin_core::memory::MemoryStore;
use twin_core::{Settings, Twin};

use crate::service::{Options, Service};

const MODEL: &str = r#"{"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Place;1",
    "@type": "Interface", "contents": []}"#;

/// A service over an empty twin whose only class is `Place`.
pub(crate) async fn service() -> Service {
    let source = Source {
        pack: Arc::new(Pack::named("test")),
        file: "place.json".to_owned(),
        text: MODEL.to_owned(),
    };
    let (ontology, _) = Ontology::compile(&[source]).unwrap_or_else(|p| panic!("{p}"));
    let ontology = Arc::new(ontology);
    let store = Arc::new(MemoryStore::new(Arc::clone(&ontology)));
    let twin = Twin::open(store, ontology, Settings::default());
    Service::new(twin.await.unwrap(), Options::default()).unwrap()
}
