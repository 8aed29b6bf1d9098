//! What a file says of itself, what is wrong with it as a whole, and how much of it is taken.

use super::*;

#[test]
fn a_coordinate_system_is_stated_or_given_and_never_guessed() {
    let mut town = house(&json!([solid(0, "1")]));
    let crs = |crs: &str| Options {
        crs: Some(crs.into()),
        ..Options::default()
    };
    let read = |town: &Value, options: &Options| {
        read_text("a.city.json", town.to_string().as_bytes(), options)
    };
    let stated = shape(&read(&town, &Options::default()).features[0]);
    let said = read(&town, &crs("EPSG:28992"));
    assert_eq!(
        said.remarks,
        [
            "EPSG:28992, as was said, is used instead of the file's https://www.opengis.net/def/crs/EPSG/0/7415"
        ]
    );
    assert_eq!(shape(&said.features[0]).geometry(), stated.geometry());
    assert!(
        read(&town, &crs("urn:ogc:def:crs:EPSG::7415"))
            .remarks
            .is_empty(),
        "the same in other words"
    );
    town["metadata"] = json!({});
    let error = read(&town, &Options::default()).error.unwrap().to_string();
    for part in [
        "metadata.referenceSystem",
        "does not say its coordinate system",
        "--crs EPSG:",
        "[[file]]",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(shape(&read(&town, &crs("EPSG:7415")).features[0]), stated);
    // Who wants no geometry need not know where it is.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.city.json");
    std::fs::write(&path, town.to_string()).unwrap();
    let reader = Reader::open(&path, Format::CityJson, &wanted(&["name"], false)).unwrap();
    let (features, ..) = sort(drain(reader).0);
    assert_eq!(
        (text(&features[0], "name"), &features[0].geometry),
        ("House", &None)
    );
    // What looks like degrees is nowhere in metres.
    town["transform"]["translate"] = json!([4.3, 51.9, 0.0]);
    let said = read(&town, &crs("EPSG:28992"));
    assert!(lacking(&said.features[0]).contains("looks like degrees"));
    let error = read(&town, &crs("EPSG:1")).error.unwrap().to_string();
    assert!(
        error.contains("EPSG:1 is not a coordinate system"),
        "{error}"
    );
}

#[test]
fn lines_are_features_and_a_broken_one_is_refused_alone() {
    let town = house(&json!([solid(0, "1")]));
    let mut head = town.clone();
    (head["CityObjects"], head["vertices"]) = (json!({}), json!([]));
    let feature = |id: &str| {
        let object = json!({id: {"type": "Building", "geometry": [solid(0, "1")]}});
        json!({"type": "CityJSONFeature", "id": id, "CityObjects": object, "vertices": town["vertices"]}).to_string()
    };
    let broken = feature("cut").replacen('}', "", 1);
    let other = feature("x").replace("CityJSONFeature", "Feature");
    let text_of = [
        head.to_string(),
        feature("a"),
        broken,
        String::new(),
        other,
        feature("b"),
    ]
    .join("\n");
    let said = read_text("a.city.jsonl", text_of.as_bytes(), &Options::default());
    assert_eq!(said.error, None);
    let ids: Vec<&str> = said
        .features
        .iter()
        .map(|feature| text(feature, "$id"))
        .collect();
    assert_eq!(ids, ["a", "b"]);
    let places: Vec<_> = said
        .features
        .iter()
        .map(|f| (f.place.feature, f.place.line))
        .collect();
    assert_eq!(places, [(1, Some(2)), (4, Some(6))]);
    assert!(said.refused[0].contains("not JSON"), "{:?}", said.refused);
    assert!(
        said.refused[1].contains("type is `Feature`, not CityJSONFeature"),
        "{:?}",
        said.refused
    );
    assert_eq!(shape(&said.features[0]), shape(&said.features[1]));
    assert_eq!(shape(&said.features[0]), shape(&only(&town)));
    // A head that is none ends it, with its place.
    let headless = [feature("a"), feature("b")].join("\n");
    let error = read_text("a.city.jsonl", headless.as_bytes(), &Options::default())
        .error
        .unwrap();
    assert!(
        error.to_string().contains("begins with a CityJSONFeature"),
        "{error}"
    );
    // The same under the name of a document.
    let error = read_text("a.city.json", text_of.as_bytes(), &Options::default())
        .error
        .unwrap();
    assert!(error.to_string().contains("name it .city.jsonl"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_says_where_and_why() {
    let town = house(&json!([solid(0, "1")]));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut town = town.clone();
        change(&mut town);
        town.to_string()
    };
    let mut cut = town.to_string();
    cut.truncate(cut.len() - 9);
    for (text, part) in [
        (String::new(), "not JSON"),
        ("[]".to_owned(), "no CityJSON"),
        ("{}".to_owned(), "its type is ``, not CityJSON"),
        (
            "{\n \"type\": \"CityJSON\",\n oops}".to_owned(),
            "line 3, column",
        ),
        (cut, "line 1, column"),
        (
            with(&|town| town["version"] = json!("1.0")),
            "version is `1.0` (1.1 and 2.0 are read",
        ),
        (
            with(&|town| town["transform"] = Value::Null),
            "no transform",
        ),
        (
            with(&|town| town["transform"]["scale"] = json!([1, 1])),
            "no CityJSON",
        ),
        (
            with(&|town| town["transform"]["scale"] = json!([1, 1, -1])),
            "a scale below zero",
        ),
        (
            with(&|town| town["vertices"][0][0] = json!(i64::MAX)),
            "is the greatest",
        ),
        (
            with(&|town| town["vertices"][0][0] = json!(0.5)),
            "no CityJSON",
        ),
        (with(&|town| town["vertices"] = json!({})), "no CityJSON"),
    ] {
        let said = read_text("a.city.json", text.as_bytes(), &Options::default());
        assert!(said.features.is_empty(), "{text}");
        let error = said
            .error
            .unwrap_or_else(|| panic!("read: {text}"))
            .to_string();
        assert!(error.contains(part), "{error}");
    }
    // An object that is none is refused by its id; others go on.
    let two = with(&|town| town["CityObjects"]["b"] = json!({"type": "Building", "attributes": 1}));
    let said = read_text("a.city.json", two.as_bytes(), &Options::default());
    assert_eq!((said.features.len(), said.error), (1, None));
    assert!(
        said.refused[0].contains("`b`: its attributes are not an object"),
        "{:?}",
        said.refused
    );
}

#[test]
fn what_is_not_read_is_told_once() {
    let mut town = house(&json!([solid(0, "1")]));
    town["appearance"] = json!({"materials": [{"name": "red"}]});
    town["transform"]["scale"] = json!([STEP, STEP, 0.0]);
    let said = read_text(
        "a.city.json",
        town.to_string().as_bytes(),
        &Options::default(),
    );
    assert_eq!(said.remarks.len(), 2, "{:?}", said.remarks);
    assert!(
        said.remarks
            .iter()
            .any(|remark| remark.contains("textures are not read"))
    );
    assert!(
        said.remarks
            .iter()
            .any(|remark| remark.contains("scale of its transform is 0"))
    );
}

#[test]
fn what_would_take_too_much_is_refused_by_the_name_of_its_limit() {
    let corner = vec!["0"; MAX_CORNERS + 1].join(",");
    let points = format!("{{\"type\":\"MultiPoint\",\"boundaries\":[{corner}]}}");
    let town = house(&json!(["geometry"]))
        .to_string()
        .replace("\"geometry\"]", &format!("{points}]"));
    let said = read_text("a.city.json", town.as_bytes(), &Options::default());
    assert!(
        lacking(&said.features[0]).contains("MAX_CORNERS"),
        "{}",
        lacking(&said.features[0])
    );
    let many = vec![json!({"type": "MultiPoint", "boundaries": [0]}); MAX_GEOMETRIES + 1];
    let feature = only(&house(&json!(many)));
    let (_, told) = wkb(&feature);
    assert!(told.unwrap().1.contains("MAX_GEOMETRIES"), "{told:?}");
    // Parents without end of a part that is large.
    let mut objects = json!({"p": {"type": "BuildingPart", "geometry": [solid(0, "1")], "attributes": {"x": "x".repeat(4 << 20)}}});
    for parent in 0..=MAX_CHILD_BYTES / (4 << 20) {
        objects[format!("b{parent}")] = json!({"type": "Building", "children": ["p"]});
    }
    let features = read(&document(&objects, &corners([0.0; 3], [1.0; 3])));
    assert_eq!(text(&features[1], "$from"), "parts");
    assert!(lacking(features.last().unwrap()).contains("MAX_CHILD_BYTES"));
}
