//! CityJSON through the mappings that are shipped.

use super::*;
use crate::{Failure, dry_run};

const SETS: [&str; 3] = ["cityjson-buildings", "cityjson-roads", "cityjson-land"];

fn nowhere() -> Folders {
    Folders {
        data: None,
        seeds: seeds(),
    }
}

fn reading(set: &str, ontology: &Ontology, file: &Path, crs: &str) -> Arc<Mapping> {
    let mapping = Mapping::clone(&shipped(set, ontology))
        .reading(file)
        .unwrap();
    Arc::new(if crs.is_empty() {
        mapping
    } else {
        mapping.in_crs(crs)
    })
}

async fn all(twin: &Twin, file: &Path, crs: &str) -> Vec<Report> {
    let mut reports = Vec::new();
    for set in SETS {
        let mapping = reading(set, twin.view().ontology(), file, crs);
        reports.push(run(twin, &mapping, &nowhere()).await);
    }
    reports
}

fn world() -> Option<PathBuf> {
    data().map(|data| data.join("world"))
}

fn text(view: &View, id: &str, property: &str) -> String {
    match value(view, id, property) {
        Some(Value::Text(text)) => text.to_string(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn cities_have_what_they_are_known_to_have_and_come_again_without_a_change() {
    let Some(world) = world() else { return };
    for (file, crs, classes) in [
        (
            "delft.city.json.gz",
            "",
            &[
                ("Building", 160),
                ("Road", 143),
                ("LandUse", 81),
                ("LandCover", 126),
                ("Bridge", 3),
                ("WaterBody", 3),
            ][..],
        ),
        (
            "rotterdam_delfshaven_3-20.city.json.gz",
            "",
            &[("Building", 853), ("BuildingPart", 0)],
        ),
        (
            "rotterdam_subset.city.json",
            "EPSG:28992",
            &[("Building", 16)],
        ),
        (
            "denhaag_01_subset.city.json",
            "EPSG:7415",
            &[("Building", 4), ("BuildingPart", 8)],
        ),
        (
            "denhaag_random_5.city.jsonl",
            "",
            &[("Building", 5), ("BuildingPart", 12)],
        ),
        (
            "3dbag_b2.city.jsonl",
            "",
            &[("Building", 2), ("BuildingPart", 2)],
        ),
    ] {
        let twin = twin().await;
        let path = world.join("cityjson").join(file);
        for report in all(&twin, &path, crs).await {
            println!("{file}: {report}");
            assert_eq!(report.refused.count, 0, "{file}: {report}");
        }
        let view = twin.view();
        for (class, number) in classes {
            assert_eq!(count(&view, class), *number, "{file}: {class}");
        }
        let position = view.position();
        for report in all(&twin, &path, crs).await {
            assert_eq!(report.changes, 0, "{file}: {report}");
        }
        assert_eq!(twin.view().position(), position, "{file}");
    }
}

#[tokio::test]
async fn parts_belong_to_their_building_and_heights_say_where_they_come_from() {
    let Some(world) = world() else { return };
    let twin = twin().await;
    all(
        &twin,
        &world.join("cityjson/denhaag_01_subset.city.json"),
        "EPSG:7415",
    )
    .await;
    all(&twin, &world.join("cityjson/3dbag_b2.city.json"), "").await;
    all(&twin, &world.join("cityjson/delft.city.json.gz"), "").await;
    let view = twin.view();
    let building = "city:GUID_8CE54418-E2F7-49A7-9A8D-C3D172BA62C4";
    let parts = related(&view, building, "partOf", Direction::In);
    assert!(parts.contains(&format!("{building}_1")), "{parts:?}");
    assert_eq!(text(&view, &format!("{building}_1"), "roofShape"), "flat");
    assert_eq!(text(&view, building, "heightSource"), "model");
    let shape = |id: &str| Arc::clone(view.shape(view.find(id).unwrap()).unwrap());
    assert!(
        shape(building).solid().is_none(),
        "the building's solids are those of its parts"
    );
    assert!(shape(&format!("{building}_1")).solid().is_some());
    let bag = "city:NL.IMBAG.Pand.0503100000028341";
    assert_eq!(
        value(&view, bag, "constructionYear"),
        Some(Value::Int(1949))
    );
    // Of a road only what it covers is of use.
    let road = view.ontology().class_named("Road").unwrap().id;
    let road = view.of_class(road).next().unwrap();
    let road = view.shape(road).unwrap();
    assert!(road.is_area() && road.solid().is_none() && road.heights().is_none());
    // A solid without a floor, as all of Delft are, is a solid all the same.
    let buildings = view.ontology().class_named("Building").unwrap().id;
    let solids = view.of_class(buildings).filter(|twin| {
        view.shape(*twin)
            .is_some_and(|shape| shape.solid().is_some())
    });
    assert!(solids.count() >= 160);
}

#[tokio::test]
async fn broken_files_import_nothing_and_say_why() {
    let Some(world) = world() else { return };
    for (file, part) in [
        ("invalid_json.city.json", "line 3, column"),
        ("with-errors.city.json", "line 1934, column"),
        ("unclosedbracket.city.jsonl", "line 1, column 313"),
        ("notransform.city.jsonl", "no transform"),
    ] {
        let twin = twin().await;
        let path = world.join("broken").join(file);
        let mapping = reading(SETS[0], twin.view().ontology(), &path, "");
        let Failure { error, report } = import(&twin, mapping, &nowhere(), |_| {})
            .await
            .unwrap_err();
        assert!(error.to_string().contains(part), "{file}: {error}");
        assert_eq!((report.read, twin.view().len()), (0, 0), "{file}");
    }
    let twin = twin().await;
    let path = world.join("broken/several_lods_invalid.city.json");
    let mapping = reading(SETS[0], twin.view().ontology(), &path, "");
    let report = run(&twin, &mapping, &nowhere()).await;
    assert_eq!((report.twins(), report.refused.count), (2, 0), "{report}");
    let told = report
        .warnings
        .by_kind
        .get("a level of detail that is there twice");
    assert_eq!(told, Some(&1), "{report}");
}

#[tokio::test]
async fn a_solid_that_differs_is_a_difference() {
    let Some(world) = world() else { return };
    let twin = twin().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.city.json");
    let before =
        std::fs::read_to_string(world.join("cityjson/denhaag_01_subset.city.json")).unwrap();
    std::fs::write(&file, &before).unwrap();
    let mapping = reading(SETS[0], twin.view().ontology(), &file, "EPSG:7415");
    run(&twin, &mapping, &nowhere()).await;
    // A wall becomes a roof; nothing else changes, the outline least of all.
    let after = before.replacen("\"WallSurface\"", "\"RoofSurface\"", 1);
    assert_ne!(before, after);
    std::fs::write(&file, after).unwrap();
    let mut told = Vec::new();
    let report = dry_run(
        &mut twin.trial(),
        mapping,
        &nowhere(),
        |_| {},
        |d| told.push(d.to_string()),
    )
    .await;
    assert_eq!(report.unwrap().changes, 1, "{told:?}");
    assert!(told[0].contains("geometry"), "{told:?}");
}

#[test]
fn data_of_somebody_else_say_so_in_each_twin() {
    let ontology = ontology();
    let mapping = Mapping::clone(&shipped(SETS[0], &ontology));
    let mapping = mapping.of_origin("Rotterdam 3D", "CC0-1.0", "Rotterdam");
    assert_eq!(
        (&*mapping.licence, &*mapping.attribution),
        ("CC0-1.0", "Rotterdam")
    );
    let constants = mapping
        .rules
        .iter()
        .flat_map(|rule| &rule.set)
        .filter_map(|setting| match &setting.from {
            crate::mapping::ValueFrom::Constant(Value::Text(text)) => {
                Some((&*setting.property, &**text))
            }
            _ => None,
        });
    let constants: Vec<_> = constants.collect();
    assert_eq!(
        constants
            .iter()
            .filter(|c| **c == ("source", "Rotterdam 3D"))
            .count(),
        2
    );
    assert_eq!(
        constants
            .iter()
            .filter(|c| **c == ("licence", "CC0-1.0"))
            .count(),
        2
    );
}
