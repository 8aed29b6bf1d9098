use serde_json::json;

use crate::world::World;

/// What apps generate code from; a change here is a change of the contract.
#[tokio::test]
async fn the_schema_of_the_small_model_is_the_kept_one() {
    let world = World::empty().await;
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/schema.graphql");
    let sdl = world.service.sdl();
    if std::env::var_os("KEEP_SCHEMA").is_some() {
        std::fs::write(kept, sdl).unwrap();
    }
    let expected = std::fs::read_to_string(kept).unwrap();
    assert!(
        sdl == expected,
        "the schema changed: if that is meant, run this test with KEEP_SCHEMA=1 and say so in CHANGELOG.md"
    );
}

#[tokio::test]
async fn introspection_describes_what_the_model_says() {
    let world = World::empty().await;
    let data = world
        .data(
            r#"{ clinic: __type(name: "Clinic") { description interfaces { name } fields { name description } }
                 any: __type(name: "AnyArea") { kind possibleTypes { name } interfaces { name } } }"#,
        )
        .await;
    let clinic = &data["clinic"];
    assert!(
        clinic["description"]
            .as_str()
            .unwrap()
            .contains("synthetic")
    );
    assert_eq!(
        clinic["interfaces"],
        json!([{"name": "Twin"}, {"name": "AnyThing"}])
    );
    let beds = clinic["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["name"] == "beds")
        .unwrap();
    assert_eq!(beds["description"], "Beds.");
    let names: Vec<_> = data["any"]["possibleTypes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Area", "Village"]);
}

#[tokio::test]
async fn a_unit_stands_in_the_description() {
    let world = World::empty().await;
    assert!(world.service.sdl().contains("Unit: degreeCelsius."));
}
