//! The packs that ship with the project, as their users meet them.

#![expect(clippy::panic, reason = "helpers of tests stop the test")]

use std::path::Path;

use ontology::{Ontology, Problems, Schema};

fn shipped() -> (Ontology, Problems) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds/ontology");
    match Ontology::load_dir(&folder) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn the_shipped_packs_have_no_problem() {
    let (_, problems) = shipped();
    assert!(problems.is_empty(), "{problems}");
}

#[test]
fn everything_in_the_shipped_packs_is_described() {
    let (ontology, _) = shipped();
    for class in ontology.classes() {
        let about = |what: &str, text: &str| {
            assert!(
                !text.trim().is_empty(),
                "{}{what} has no description",
                class.name
            );
        };
        about("", &class.description);
        assert_ne!(&*class.label, "");
        for property in &class.properties {
            about(&format!(".{}", property.name), &property.description);
            if let Schema::Enum(one_of) = &property.schema {
                for value in &one_of.values {
                    about(
                        &format!(".{}.{}", property.name, value.name),
                        &value.description,
                    );
                }
            }
        }
        for telemetry in &class.telemetry {
            about(&format!(".{}", telemetry.name), &telemetry.description);
        }
        for relationship in &class.relationships {
            about(
                &format!(".{}", relationship.name),
                &relationship.description,
            );
        }
    }
}

#[test]
fn a_health_facility_is_a_facility_and_a_place_in_a_village() {
    let (ontology, _) = shipped();
    let facility = ontology.class_named("HealthFacility").unwrap();
    assert_eq!(&*facility.plural, "healthFacilities");
    assert_eq!(&*facility.pack, "health");
    for ancestor in ["Facility", "Place", "Entity"] {
        assert!(
            ontology.is_a(facility.id, ontology.class_named(ancestor).unwrap().id),
            "{ancestor}"
        );
    }
    let located = facility.relationship("locatedIn").unwrap();
    let village = ontology.class_named("Village").unwrap();
    assert_eq!((located.target, located.max), (Some(village.id), Some(1)));
    assert!(matches!(
        facility.property("beds").unwrap().schema,
        Schema::Integer { .. }
    ));
    let below: Vec<&str> = ontology
        .with_descendants(facility.id)
        .map(|id| &*ontology.class(id).name)
        .collect();
    assert_eq!(
        below,
        ["HealthFacility", "HealthCentre", "HealthPost", "Hospital"]
    );
}

#[test]
fn whoever_looks_for_water_finds_every_kind_of_staffed_facility() {
    let (ontology, _) = shipped();
    let staffed = ontology.class_named("StaffedFacility").unwrap();
    let village = ontology.class_named("Village").unwrap();
    for name in [
        "AdministrativeOffice",
        "EarlyChildhoodCentre",
        "HealthPost",
        "HigherEducationFacility",
        "School",
    ] {
        let class = ontology.class_named(name).unwrap();
        assert!(ontology.is_a(class.id, staffed.id), "{name}");
        assert!(class.property("waterConnected").is_some(), "{name}");
        let located = class.relationship("locatedIn").unwrap();
        assert_eq!(located.target, Some(village.id), "{name}");
    }
    // A bus stop is a facility where nobody works.
    let stop = ontology.class_named("TransportStop").unwrap();
    assert!(!ontology.is_a(stop.id, staffed.id));
}

#[test]
fn personal_data_is_marked_and_units_are_known() {
    let (ontology, _) = shipped();
    let person = ontology.class_named("Person").unwrap();
    let personal: Vec<&str> = person
        .properties
        .iter()
        .filter(|p| p.personal)
        .map(|p| &*p.name)
        .collect();
    assert_eq!(personal, ["birthYear", "name", "occupation", "sex"]);
    assert!(!person.property("synthetic").unwrap().personal);
    assert!(
        !ontology
            .class_named("Village")
            .unwrap()
            .property("name")
            .unwrap()
            .personal
    );
    let station = ontology.class_named("AirQualityStation").unwrap();
    let pm25 = &station.telemetry[station.telemetry_index("pm25").unwrap()];
    assert_eq!(pm25.unit.as_deref(), Some("microgramPerCubicMetre"));
    assert!(station.telemetry_index("location").is_some());
}

#[test]
fn a_relationship_name_is_one_table_for_all_who_declare_it() {
    let (ontology, _) = shipped();
    let located = ontology.relationship_named("locatedIn").unwrap();
    let sources: Vec<&str> = located
        .sources
        .iter()
        .map(|id| &*ontology.class(*id).name)
        .collect();
    for class in [
        "Asset",
        "AirQualityStation",
        "HealthPost",
        "Institution",
        "Ministry",
    ] {
        assert!(sources.contains(&class), "{class} is not among {sources:?}");
    }
    assert!(!sources.contains(&"Village"));
    assert_eq!(ontology.relationship(located.id).name, located.name);
}
