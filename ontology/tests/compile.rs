//! What compiling packs gives, and what it says about packs that are wrong.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests stop the test"
)]

use std::sync::Arc;

use ontology::{Ontology, Pack, Problems, Schema, Severity, Source};
use proptest::prelude::*;

fn pack(toml: &str) -> Arc<Pack> {
    Arc::new(Pack::parse("pack.toml", toml).unwrap_or_else(|problems| panic!("{problems}")))
}

fn source(pack: &Arc<Pack>, text: &str) -> Source {
    Source {
        pack: Arc::clone(pack),
        file: "model.json".to_owned(),
        text: text.to_owned(),
    }
}

/// An interface of DTDL v4 with quantities: its id's last part, further members, contents.
fn interface(id: &str, more: &str, contents: &str) -> String {
    format!(
        r#"{{"@context": ["dtmi:dtdl:context;4", "dtmi:dtdl:extension:quantitativeTypes;2"],
"@id": "dtmi:t:{id};1", "@type": "Interface"{more}, "contents": [{contents}]}}"#
    )
}

fn property(name: &str, schema: &str) -> String {
    format!(r#"{{"@type": "Property", "name": "{name}", "schema": {schema}}}"#)
}

fn compile(text: &str) -> Result<(Ontology, Problems), Problems> {
    Ontology::compile(&[source(&Arc::new(Pack::named("t")), text)])
}

fn compiled(text: &str) -> Ontology {
    match compile(text) {
        Ok((ontology, _)) => ontology,
        Err(problems) => panic!("{problems}"),
    }
}

fn refused(text: &str) -> Problems {
    match compile(text) {
        Ok((_, warnings)) => panic!("accepted, with {warnings}"),
        Err(problems) => problems,
    }
}

/// The one problem, which must say `reason`, and whose remedy must say `remedy`.
fn check_refused(text: &str, reason: &str, remedy: &str) {
    let problems = refused(text);
    let found = problems.iter().any(|problem| {
        problem.reason().contains(reason) && problem.remedy().unwrap_or_default().contains(remedy)
    });
    assert!(
        found,
        "no problem says `{reason}` and `{remedy}`:\n{problems}"
    );
}

fn list(documents: &[String]) -> String {
    format!("[{}]", documents.join(","))
}

#[test]
fn members_are_inherited_once_however_many_ways_lead_to_them() {
    let ontology = compiled(&list(&[
        interface("Base", "", &property("name", "\"string\"")),
        interface(
            "Left",
            r#", "extends": "dtmi:t:Base;1""#,
            &property("left", "\"long\""),
        ),
        interface("Right", r#", "extends": ["dtmi:t:Base;1"]"#, ""),
        interface(
            "Both",
            r#", "extends": ["dtmi:t:Left;1", "dtmi:t:Right;1"]"#,
            "",
        ),
    ]));
    let both = ontology.class_named("Both").unwrap();
    let names: Vec<&str> = both.properties.iter().map(|p| &*p.name).collect();
    assert_eq!(names, ["left", "name"]);
    assert_eq!(
        both.property("name").unwrap().declared_by,
        ontology.class_named("Base").unwrap().id
    );
    assert_eq!(both.ancestors.len(), 3);
    assert_eq!(ontology.class_named("Base").unwrap().descendants.len(), 3);
    assert!(
        ontology
            .classes()
            .iter()
            .enumerate()
            .all(|(i, class)| class.id.0 as usize == i)
    );
}

#[test]
fn the_order_of_documents_does_not_matter() {
    let documents = [
        interface("Zed", r#", "extends": "dtmi:t:Mid;1""#, ""),
        interface("Alpha", "", &property("name", "\"string\"")),
        interface(
            "Mid",
            r#", "extends": "dtmi:t:Alpha;1""#,
            &property("size", "\"double\""),
        ),
    ];
    let forward = format!("{:?}", compiled(&list(&documents)));
    let backward: Vec<String> = documents.iter().rev().cloned().collect();
    assert_eq!(forward, format!("{:?}", compiled(&list(&backward))));
}

#[test]
fn two_declarations_of_one_name_are_refused() {
    check_refused(
        &list(&[
            interface("Base", "", &property("name", "\"string\"")),
            interface(
                "Child",
                r#", "extends": "dtmi:t:Base;1""#,
                &property("name", "\"string\""),
            ),
        ]),
        "`name` is already inherited from `Base`",
        "rename",
    );
    check_refused(
        &list(&[
            interface("A", "", &property("name", "\"string\"")),
            interface("B", "", &property("name", "\"string\"")),
            interface("C", r#", "extends": ["dtmi:t:A;1", "dtmi:t:B;1"]"#, ""),
        ]),
        "`C` inherits two different `name`",
        "",
    );
    let twice = [property("x", "\"long\""), property("x", "\"long\"")].join(",");
    check_refused(&interface("A", "", &twice), "`x` is declared twice", "");
}

#[test]
fn circles_and_gaps_in_extends_are_refused() {
    check_refused(
        &list(&[
            interface("A", r#", "extends": "dtmi:t:C;1""#, ""),
            interface("B", r#", "extends": "dtmi:t:A;1""#, ""),
            interface("C", r#", "extends": "dtmi:t:B;1""#, ""),
            interface("Below", r#", "extends": "dtmi:t:C;1""#, ""),
        ]),
        "`extends` goes in a circle: A → C → B → A",
        "",
    );
    check_refused(
        &interface("A", r#", "extends": "dtmi:t:A;1""#, ""),
        "A → A",
        "",
    );
    check_refused(
        &list(&[
            interface("Place", "", ""),
            interface("A", r#", "extends": "dtmi:t:place;1""#, ""),
        ]),
        "`dtmi:t:place;1` is not defined",
        "did you mean `dtmi:t:Place;1`?",
    );
}

#[test]
fn a_missing_target_is_a_warning_and_then_any_class_is_accepted() {
    let relationship = r#"{"@type": "Relationship", "name": "near", "target": "dtmi:t:Plaec;1", "maxMultiplicity": 2}"#;
    let text = list(&[interface("Place", "", relationship)]);
    let (ontology, warnings) = compile(&text).unwrap();
    assert_eq!((warnings.errors(), warnings.warnings()), (0, 1));
    let warning = warnings.iter().next().unwrap();
    assert_eq!(warning.severity(), Severity::Warning);
    assert_eq!(warning.remedy(), Some("did you mean `dtmi:t:Place;1`?"));
    let near = ontology
        .class_named("Place")
        .unwrap()
        .relationship("near")
        .unwrap();
    assert_eq!((near.target, near.max), (None, Some(2)));
}

#[test]
fn reserved_names_get_an_underscore() {
    let contents = [
        property("position", "\"string\""),
        r#"{"@type": "Relationship", "name": "related", "properties": [{"@type": "Property", "name": "in", "schema": "long"}]}"#.to_owned(),
    ];
    let ontology = compiled(&interface("Part", "", &contents.join(",")));
    let part = ontology.class_named("Part").unwrap();
    assert!(part.property("position_").is_some());
    assert_eq!(
        &*part.relationship("related_").unwrap().properties[0].name,
        "in_"
    );
    assert!(ontology.relationship_named("related_").is_some());
}

#[test]
fn a_class_name_taken_by_another_pack_gets_the_packs_name_in_front() {
    let of = |name: &str, namespace: &str| {
        let text = interface("Meter", "", "").replace("dtmi:t:", &format!("dtmi:{namespace}:"));
        source(&Arc::new(Pack::named(name)), &text)
    };
    let (ontology, _) = Ontology::compile(&[of("smart-water", "w"), of("energy", "e")]).unwrap();
    let names: Vec<(&str, &str)> = ontology
        .classes()
        .iter()
        .map(|class| (&*class.name, &*class.plural))
        .collect();
    assert_eq!(
        names,
        [("Meter", "meters"), ("SmartWaterMeter", "smartWaterMeters")]
    );
    assert_eq!(&*ontology.class_named("Meter").unwrap().pack, "energy");
    let (ontology, _) = Ontology::compile(&[source(
        &pack("name = \"gis\""),
        &interface("Geometry", "", ""),
    )])
    .unwrap();
    assert!(ontology.class_named("GisGeometry").is_some());
}

#[test]
fn schemas_become_what_values_they_take() {
    let contents = [
        property("small", "\"unsignedByte\""),
        property("area", "\"polygon\""),
        property("tags", r#"{"@type": "Array", "elementSchema": "string"}"#),
        property(
            "counts",
            r#"{"@type": "Map", "mapKey": {"name": "k", "schema": "string"}, "mapValue": {"name": "v", "schema": "long"}}"#,
        ),
        property("state", "\"dtmi:t:State;1\""),
        property(
            "size",
            r#"{"@type": "Object", "fields": [{"name": "w", "schema": "double"}]}"#,
        ),
    ];
    let shared = r#", "schemas": [{"@id": "dtmi:t:State;1", "@type": "Enum", "valueSchema": "integer",
        "enumValues": [{"name": "off", "enumValue": 0}, {"name": "on", "enumValue": 1}]}]"#;
    let ontology = compiled(&interface("Part", shared, &contents.join(",")));
    let part = ontology.class_named("Part").unwrap();
    let takes = |name: &str, json: &str| {
        part.property(name)
            .unwrap()
            .schema
            .parse(&serde_json::from_str(json).unwrap())
            .is_ok()
    };
    assert!(takes("small", "255") && !takes("small", "256"));
    assert!(takes("tags", r#"["a"]"#) && !takes("tags", "[1]"));
    assert!(takes("counts", r#"{"x": 1}"#) && !takes("counts", r#"{"x": "y"}"#));
    assert!(takes("state", "1") && !takes("state", "2") && !takes("state", "\"on\""));
    assert!(takes("size", r#"{"w": 1.5}"#) && !takes("size", r#"{"h": 1}"#));
    assert!(takes(
        "area",
        r#"{"type": "Polygon", "coordinates": [[[0,0],[1,0],[1,1],[0,0]]]}"#
    ));
    let Schema::Enum(state) = &part.property("state").unwrap().schema else {
        panic!("no enum")
    };
    assert_eq!(state.name.as_deref(), Some("State"));
}

#[test]
fn a_component_is_an_object_of_its_interfaces_properties() {
    let text = list(&[
        interface("Base", "", &property("maker", "\"string\"")),
        interface(
            "Camera",
            r#", "extends": "dtmi:t:Base;1""#,
            &property("zoom", "\"double\""),
        ),
        interface(
            "Phone",
            "",
            r#"{"@type": "Component", "name": "front", "schema": "dtmi:t:Camera;1"}"#,
        ),
    ]);
    let ontology = compiled(&text);
    let Schema::Object(fields) = &ontology
        .class_named("Phone")
        .unwrap()
        .property("front")
        .unwrap()
        .schema
    else {
        panic!("no object");
    };
    let names: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
    assert_eq!(names, ["maker", "zoom"]);
}

#[test]
fn units_belong_to_their_semantic_type() {
    let quantity = |unit: &str| {
        let contents = format!(
            r#"{{"@type": ["Telemetry", "Temperature"], "name": "t", "schema": "double", "unit": "{unit}"}}"#
        );
        interface("Sensor", "", &contents)
    };
    let ontology = compiled(&quantity("degreeCelsius"));
    let sensor = ontology.class_named("Sensor").unwrap();
    assert_eq!(sensor.telemetry[0].unit.as_deref(), Some("degreeCelsius"));
    check_refused(
        &quantity("degreeCelcius"),
        "not a unit of `Temperature`",
        "did you mean `degreeCelsius`?",
    );
    check_refused(
        &quantity("metre"),
        "not a unit of `Temperature`",
        "one of degreeCelsius",
    );
    let without = quantity("kelvin").replace(r#", "dtmi:dtdl:extension:quantitativeTypes;2""#, "");
    check_refused(
        &without,
        "type `Temperature` is not known",
        "quantitativeTypes;2",
    );
}

#[test]
fn what_is_not_understood_is_said_with_a_suggestion() {
    check_refused(
        &interface("A", r#", "discription": "x""#, ""),
        "`discription` is not known",
        "`description`",
    );
    check_refused(
        &interface("A", "", r#"{"@type": "Proprety", "name": "x"}"#),
        "`Proprety`",
        "`Property`",
    );
    check_refused(
        &interface("A", "", &property("x", "\"strnig\"")),
        "`strnig`",
        "`string`",
    );
    check_refused(
        &interface("A", "", &property("x", "\"uuid\"")),
        "`uuid` is not supported yet",
        "string",
    );
    check_refused(
        &interface("A", "", &property("1x", "\"long\"")),
        "`1x` is not a name",
        "a letter first",
    );
    check_refused(
        "{\"@context\": \"dtmi:dtdl:context;5\"}",
        "not a DTDL context",
        "dtmi:dtdl:context;",
    );
    check_refused("{}", "`@context` is missing", "dtmi:dtdl:context;4");
    check_refused("{\"a\": 1,}", "not valid JSON", "");
    check_refused("", "no JSON value", "");
    let (ontology, warnings) = compile(&interface(
        "A",
        "",
        r#"{"@type": "Command", "name": "reboot"}"#,
    ))
    .unwrap();
    assert!(ontology.class_named("A").unwrap().properties.is_empty());
    assert!(
        warnings
            .iter()
            .any(|warning| warning.reason().contains("`reboot` cannot be called yet"))
    );
}

#[test]
fn a_problem_points_at_its_line_and_column() {
    let text = interface("A", "", &format!("\n  {}", property("x", "\"strnig\"")));
    let problems = refused(&format!("\u{feff}{text}"));
    let problem = problems.iter().next().unwrap();
    let (line, rest) = text
        .split("strnig")
        .next()
        .map(|before| (before.matches('\n').count() + 1, before))
        .unwrap();
    let column = rest.rsplit('\n').next().unwrap().chars().count();
    assert_eq!(
        (problem.file(), problem.line(), problem.column()),
        ("model.json", line, column)
    );
}

#[test]
fn all_problems_are_found_in_one_run() {
    let contents = [
        property("a", "\"strnig\""),
        property("b", "\"lnog\""),
        property("c_", "\"long\""),
    ];
    let problems = refused(&interface("A", "", &contents.join(",")));
    assert_eq!(problems.errors(), 3, "{problems}");
}

#[test]
fn schemas_that_hold_themselves_are_refused() {
    let node = r#", "schemas": [{"@id": "dtmi:t:Node;1", "@type": "Object", "fields": [
        {"name": "next", "schema": "dtmi:t:Node;1"}, {"name": "other", "schema": "dtmi:t:Node;1"}]}]"#;
    check_refused(&interface("A", node, ""), "refers to itself", "");
}

#[test]
fn one_name_of_relationship_has_one_type_for_each_property() {
    let with = |schema: &str| {
        format!(
            r#"{{"@type": "Relationship", "name": "feeds", "properties": [{}]}}"#,
            property("since", schema)
        )
    };
    let same = list(&[
        interface("A", "", &with("\"date\"")),
        interface("B", "", &with("\"date\"")),
    ]);
    let ontology = compiled(&same);
    let feeds = ontology.relationship_named("feeds").unwrap();
    assert_eq!((feeds.sources.len(), feeds.properties.len()), (2, 1));
    check_refused(
        &list(&[
            interface("A", "", &with("\"date\"")),
            interface("B", "", &with("\"long\"")),
        ]),
        "property `since` of relationship `feeds`",
        "same schema",
    );
}

#[test]
fn a_property_is_writable_only_where_the_model_says_so() {
    let model = r#"{"@context": "dtmi:dtdl:context;3", "@id": "dtmi:t:Thing;1", "@type": "Interface",
        "contents": [
          {"@type": "Property", "name": "open", "schema": "string", "writable": true},
          {"@type": "Property", "name": "shut", "schema": "string", "writable": false},
          {"@type": "Property", "name": "silent", "schema": "string"}]}"#;
    let source = Source {
        pack: Arc::new(Pack::named("t")),
        file: "thing.json".to_owned(),
        text: model.to_owned(),
    };
    let (ontology, _) = Ontology::compile(&[source]).unwrap_or_else(|p| panic!("{p}"));
    let class = ontology.class_named("Thing").unwrap();
    let writable = |name: &str| class.property(name).unwrap().writable;
    assert!(writable("open") && !writable("shut") && !writable("silent"));
}

#[test]
fn a_pack_file_says_plurals_and_personal_data() {
    let person = interface("Person", "", &property("name", "\"string\""));
    let of = |toml: &str| Ontology::compile(&[source(&pack(toml), &person)]);
    let (ontology, _) =
        of("name = \"p\"\npersonal = [\"Person.name\"]\n[plural]\nPerson = \"people\"").unwrap();
    let class = ontology.class_named("Person").unwrap();
    assert_eq!(&*class.plural, "people");
    assert!(class.property("name").unwrap().personal);
    for (toml, reason, remedy) in [
        (
            "name = \"p\"\npersonal = [\"Person.nmae\"]",
            "declares no property `nmae`",
            "`name`",
        ),
        (
            "name = \"p\"\npersonal = [\"Perso.name\"]",
            "no class `Perso`",
            "`Person`",
        ),
        (
            "name = \"p\"\n[plural]\nPerson = \"position\"",
            "list field",
            "camelCase",
        ),
        (
            "name = \"p\"\ndepends = [\"cor\"]",
            "pack `cor` is not there",
            "load it",
        ),
    ] {
        let problems = of(toml).unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert!(problem.reason().contains(reason), "{problems}");
        assert!(problem.remedy().unwrap().contains(remedy), "{problems}");
        assert_eq!(problem.file(), "pack.toml");
    }
    let problems = Pack::parse("pack.toml", "name = \"p\"\ndependds = []").unwrap_err();
    assert_eq!(
        problems.iter().next().unwrap().remedy(),
        Some("did you mean `depends`?")
    );
    assert!(Pack::parse("pack.toml", "version = \"1\"").is_err());
}

#[test]
fn a_pack_speaks_of_its_own_class_even_where_another_pack_took_the_name() {
    let person = |namespace: &str, property_name: &str| {
        interface("Person", "", &property(property_name, "\"string\""))
            .replace("dtmi:t:", &format!("dtmi:{namespace}:"))
    };
    let toml = "name = \"core\"\npersonal = [\"Person.name\"]\n[plural]\nPerson = \"humans\"";
    let sources = [
        source(&pack(toml), &person("c", "name")),
        source(&pack("name = \"building\""), &person("b", "name")),
    ];
    let (ontology, _) = Ontology::compile(&sources).unwrap();
    let of = |class: &str| {
        let class = ontology.class_named(class).unwrap();
        (&*class.plural, class.property("name").unwrap().personal)
    };
    assert_eq!(of("CorePerson"), ("humans", true));
    assert_eq!(of("Person"), ("persons", false));
}

#[test]
fn a_folder_of_packs_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("water/deep");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::create_dir_all(folder.path().join("not-a-pack")).unwrap();
    std::fs::write(folder.path().join("water/pack.toml"), "name = \"water\"").unwrap();
    std::fs::write(inner.join("Pipe.json"), interface("Pipe", "", "")).unwrap();
    std::fs::write(folder.path().join("not-a-pack/x.json"), "nonsense").unwrap();
    let (ontology, _) = Ontology::load_dir(folder.path()).unwrap();
    assert_eq!(&*ontology.class_named("Pipe").unwrap().pack, "water");
    std::fs::write(inner.join("Bad.json"), [0xff_u8, 0xfe]).unwrap();
    let problems = Ontology::load_dir(folder.path()).unwrap_err();
    assert!(problems.to_string().contains("Bad.json"), "{problems}");
    let empty = tempfile::tempdir().unwrap();
    assert!(
        Ontology::load_dir(empty.path())
            .unwrap_err()
            .to_string()
            .contains("no pack here")
    );
    assert!(Ontology::load_dir(&empty.path().join("gone")).is_err());
}

/// A model with everything in it, to be damaged.
fn specimen() -> String {
    let contents = [
        property("tags", r#"{"@type": "Array", "elementSchema": "string"}"#),
        property("state", "\"dtmi:t:State;1\""),
        r#"{"@type": ["Telemetry", "Length"], "name": "h", "schema": "double", "unit": "metre", "displayName": {"en": "H", "fr": "H"}}"#.to_owned(),
        r#"{"@type": "Relationship", "name": "at", "target": "dtmi:t:Top;1", "maxMultiplicity": 1, "properties": []}"#.to_owned(),
        r#"{"@type": "Component", "name": "part", "schema": "dtmi:t:Top;1"}"#.to_owned(),
        r#"{"@type": "Command", "name": "go", "request": {"name": "x", "schema": "long"}}"#.to_owned(),
    ];
    let shared = r#", "extends": "dtmi:t:Top;1", "schemas": [{"@id": "dtmi:t:State;1", "@type": "Enum", "valueSchema": "string",
        "enumValues": [{"name": "off", "enumValue": "off"}]}]"#;
    list(&[
        interface("Part", shared, &contents.join(",")),
        interface("Top", "", &property("size", "\"double\"")),
    ])
}

#[test]
fn the_specimen_compiles() {
    assert_eq!(compiled(&specimen()).classes().len(), 2);
}

/// Renders every problem, so that a span outside its text would show.
fn render(result: Result<(Ontology, Problems), Problems>) {
    let problems = result.map_or_else(|problems| problems, |(_, warnings)| warnings);
    let mut out = String::new();
    miette::JSONReportHandler::new()
        .render_report(&mut out, &problems)
        .unwrap();
    for problem in &problems {
        let narrated = miette::NarratableReportHandler::new().render_report(&mut out, problem);
        assert!(narrated.is_ok(), "{problem}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_compiled_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        render(compile(&String::from_utf8_lossy(&bytes)));
    }

    #[test]
    fn a_damaged_model_is_compiled_or_refused(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, prop::sample::select(vec![
            "", "\"", "{", "}", "[", "]", ",", ":", "null", "1e999", "\"@id\":\"dtmi:t:Part;1\",", "ß", "\"x\"",
            "dtmi:t:Part;1", "\"dtmi:t:State;1\"", "Property", "{\"@value\":1}",
        ])), 1..4),
    ) {
        let mut text: Vec<char> = specimen().chars().collect();
        for (at, length, put) in cuts {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, put.chars());
        }
        render(compile(&text.into_iter().collect::<String>()));
    }

    #[test]
    fn any_pack_file_is_read_or_refused(text in "(name|plural|personal|depends|=|\\[|\\]|\"|a|\n| |\\.){0,30}") {
        if let Err(problems) = Pack::parse("pack.toml", &text) {
            render(Err(problems));
        }
    }
}
