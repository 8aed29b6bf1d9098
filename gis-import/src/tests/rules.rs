//! Rules about twins that are there already, names near a place, and numbers with units and ranges.

use super::*;

/// A sector of two cells, with villages whose names repeat.
///
/// ```text
/// sector 1:  cell 11 (0..1): Kabeza, Ndago, Ndago   cell 12 (1..2): Kabeza, Gatare
/// ```
async fn with_cells() -> Twin {
    let twin = twin().await;
    let area = |level: &str, code: u32, parent: u32, name: &str, west: u32, east: u32| {
        format!(
            r#"{{"type":"Feature","properties":{{"level":"{level}","code":{code},"parent":{parent},"name":"{name}"}},
            "geometry":{{"type":"Polygon","coordinates":[[[{west},0],[{east},0],[{east},1],[{west},1],[{west},0]]]}}}}"#
        )
    };
    let features = [
        area("s", 1, 0, "Sector", 0, 2),
        area("c", 11, 1, "Cell", 0, 1),
        area("c", 12, 1, "Cell", 1, 2),
        area("v", 111, 11, "Kabeza", 0, 1),
        area("v", 112, 11, "Ndago", 0, 1),
        area("v", 113, 11, "NDAGO", 0, 1),
        area("v", 121, 12, "Kabeza", 1, 2),
        area("v", 122, 12, "Gatare ", 1, 2),
    ];
    let rules = r#"
[[twin]]
class = { column = "level", map = { s = "Sector", c = "Cell", v = "Village" } }
id = "rw:area:{code}"
geometry = "feature"
[twin.set]
name = "name"
[[twin.relate]]
relationship = "partOf"
when = { parent = { not = "0" } }
target = "rw:area:{parent}"
"#;
    let set = Set::new("a.geojson", collection(&features), rules);
    let report = set.run(&twin).await;
    assert_eq!((report.created, report.refused.count), (8, 0), "{report}");
    twin
}

const POINTS: &str = r#"
[[twin]]
class = "WaterPoint"
id = "rw:water-point:{n}"
geometry = { lon = "x", lat = "y" }
[twin.set]
name = "n"
[[twin.relate]]
relationship = "supplies"
named = { class = "Village", column = "names", near = ["Cell", "Sector"] }
optional = true
"#;

#[tokio::test]
async fn a_name_means_the_only_village_of_the_cell_else_of_the_sector() {
    let twin = with_cells().await;
    // In cell 11: its own Kabeza, Gatare of the sector, two of the name Ndago, and nobody.
    let text = "n,x,y,names\n\
                1,0.5,0.5,\" kabeza, Gatare,\"\n\
                2,0.5,0.5,\"Ndago,Nowhere\"\n\
                3,1.5,0.5,Kabeza\n\
                4,1.5,0.5,\n\
                5,9,9,Kabeza\n";
    let set = Set::new("p.csv", text, POINTS);
    let report = set.run(&twin).await;
    assert_eq!((report.created, report.refused.count), (5, 0), "{report}");
    let view = twin.view();
    let supplied = |n: u32| {
        related(
            &view,
            &format!("rw:water-point:{n}"),
            "supplies",
            Direction::Out,
        )
    };
    assert_eq!(supplied(1), ["rw:area:111", "rw:area:122"]);
    assert!(supplied(2).is_empty());
    assert_eq!(supplied(3), ["rw:area:121"]);
    assert!(supplied(4).is_empty() && supplied(5).is_empty());
    for (kind, number) in [
        ("a name of several", 1),
        ("a name of nobody near", 1),
        ("in no area of the kind", 1),
    ] {
        assert_eq!(
            report.warnings.by_kind.get(kind),
            Some(&number),
            "{kind}: {report}"
        );
    }
    let text = report.to_string();
    for reason in [
        "2 of the class Village are called `Ndago` in `rw:area:11`",
        "no Village around it is called `Nowhere` (looked in its Cell, Sector)",
        "no Cell holds [9, 9]",
    ] {
        assert!(text.contains(reason), "{reason}: {text}");
    }
    assert_eq!(set.run(&twin).await.changes, 0);
}

const SCHEMES: &str = r#"
[[twin]]
class = "WaterSupplyScheme"
id = "rw:water-scheme:{scheme}"
[twin.set]
name = "name"
"#;

const TAPS: &str = r#"
[[twin]]
per = "known"
class = "WaterSupplyScheme"
id = "rw:water-scheme:{scheme}"
when = { kind = "tap" }
geometry = { lon = "x", lat = "y" }
[[twin.relate]]
relationship = "supplies"
within = "Village"
"#;

#[tokio::test]
async fn a_known_twin_is_related_and_never_made() {
    let twin = with_villages().await;
    Set::new("s.csv", "scheme,name\n1,One\n2,Two\n", SCHEMES)
        .run(&twin)
        .await;
    let before = twin.view();
    // Taps of scheme 1 in both villages, one of them twice; scheme 7 is nobody's; one is nowhere.
    let text = "scheme,kind,x,y\n1,tap,0.5,0.5\n1,tap,0.6,0.5\n1,tap,1.5,0.5\n7,tap,0.5,0.5\n\
                7,tap,0.5,0.5\n2,tap,9,9\n2,valve,0.5,0.5\n";
    let set = Set::new("t.csv", text, TAPS);
    let report = set.run(&twin).await;
    assert_eq!(
        (
            report.read,
            report.skipped,
            report.twins(),
            report.related,
            report.changes
        ),
        (7, 1, 0, 2, 2),
        "{report}"
    );
    assert_eq!(report.refused.by_kind["a twin that is not there"], 2);
    assert_eq!(report.refused.by_kind["in no area of the kind"], 1);
    assert_eq!(report.refused.count, 3, "{report}");
    let view = twin.view();
    let scheme = "rw:water-scheme:1";
    assert_eq!(
        related(&view, scheme, "supplies", Direction::Out),
        ["rw:village:1", "rw:village:2"]
    );
    assert_eq!(
        value(&view, scheme, "name"),
        Some(Value::Text("One".into()))
    );
    assert!(view.shape(view.find(scheme).unwrap()).is_none());
    assert_eq!(view.len(), before.len());
    let again = set.run(&twin).await;
    assert_eq!(
        (again.changes, again.related, again.already_related),
        (0, 2, 2)
    );
    assert!(again.to_string().contains("(2 there already)"), "{again}");
    assert!(again.to_string().contains("nothing changed"), "{again}");
}

#[tokio::test]
async fn a_known_twin_of_another_class_is_refused() {
    let twin = with_villages().await;
    let text = "id,x,y\nrw:village:1,0.5,0.5\n";
    let rules = TAPS
        .replace("rw:water-scheme:{scheme}", "{id}")
        .replace("when = { kind = \"tap\" }\n", "");
    let report = Set::new("t.csv", text, &rules).run(&twin).await;
    assert_eq!(
        report.refused.by_kind["a twin of another class"], 1,
        "{report}"
    );
    let reason = "`rw:village:1` is a Village, not a WaterSupplyScheme";
    assert!(report.to_string().contains(reason), "{report}");
}

#[tokio::test]
async fn numbers_outside_their_range_or_of_another_unit_are_left_out_and_told() {
    let twin = twin().await;
    let rules = r#"
[[twin]]
class = "PumpingStation"
id = "rw:pumping-station:{n}"
[twin.set]
constructionYear = { column = "year", range = [1900, 2030] }
pumpFlow = { column = "flow", unit = ["m3/h", "cum/h"], range = [0.1, 1000] }
pumpPower = { column = "watts", unit = "W", factor = 0.001 }
"#;
    let text = "n,year,flow,watts\n1,2007,15 M3/H,3000 w\n2,50321,2 l/s,5\n3,0,17cum/h,many\n4,1900,5000,\n";
    let report = Set::new("p.csv", text, rules).run(&twin).await;
    assert_eq!((report.created, report.refused.count), (4, 0), "{report}");
    let view = twin.view();
    let of = |n: u32, name: &str| value(&view, &format!("rw:pumping-station:{n}"), name);
    assert_eq!(of(1, "constructionYear"), Some(Value::Int(2007)));
    assert_eq!(of(1, "pumpFlow"), Some(Value::Double(15.0)));
    assert_eq!(of(1, "pumpPower"), Some(Value::Double(3.0)));
    assert_eq!((of(2, "constructionYear"), of(2, "pumpFlow")), (None, None));
    assert_eq!(of(2, "pumpPower"), Some(Value::Double(0.005)));
    assert_eq!(of(3, "pumpFlow"), Some(Value::Double(17.0)));
    assert_eq!(of(4, "constructionYear"), Some(Value::Int(1900)));
    assert_eq!(
        report.warnings.by_kind["a number out of the mapping's range"],
        3
    );
    assert_eq!(
        report.warnings.by_kind["a value that does not fit the model"],
        2
    );
    let reason = "without constructionYear: 50321 is not from 1900 to 2030";
    assert!(report.to_string().contains(reason), "{report}");
}

const PLACES: &str = r#"
crs = "EPSG:32736"
[[twin]]
class = "Village"
id = "rw:village:{code}"
geometry = { lon = "x", lat = "y" }
"#;

#[tokio::test]
async fn positions_in_columns_may_be_in_another_system() {
    let twin = twin().await;
    let text = "code,x,y\n1,233923.013,9747541.918\n2,30,-2\n3,-999,-999\n4,,\n";
    let set = Set::new("v.csv", text, PLACES);
    let report = set.run(&twin).await;
    assert_eq!((report.created, report.refused.count), (3, 1), "{report}");
    assert!(
        report.refused.listed[0]
            .reason
            .contains("looks like degrees"),
        "{report}"
    );
    assert_eq!(report.warnings.by_kind["no geometry"], 2, "{report}");
    let view = twin.view();
    let shape = view.shape(view.find("rw:village:1").unwrap()).unwrap();
    let at = shape.is_point().unwrap();
    assert!((at.lon - 30.607_646_015_9).abs() < 1e-8, "{at:?}");
}

#[tokio::test]
async fn what_a_file_lacks_is_a_warning_of_the_report() {
    let twin = twin().await;
    let text = r#"{"type":"FeatureCollection","features":[]}"#;
    let set = Set::new("v.geojson", text, VILLAGES);
    assert_eq!(set.run(&twin).await.warnings.count, 0);
    // A shapefile of no shapes, alone.
    let mut shp = vec![0, 0, 0x27, 0x0a];
    shp.resize(27, 0);
    shp.push(50);
    shp.resize(100, 0);
    let rules = VILLAGES.replace("{code}", "{$id}");
    let rules = rules.lines().filter(|line| {
        !line.contains(" = \"name") && !line.contains(" = \"code") && !line.contains("people")
    });
    let rules: Vec<&str> = rules.collect();
    let set = Set::new(
        "v.shp",
        shp,
        &format!("crs = \"EPSG:4326\"\n{}", rules.join("\n")),
    );
    let report = set.run(&twin).await;
    // No .prj, no .dbf, no .shx.
    assert_eq!(report.warnings.by_kind["a part is missing"], 3, "{report}");
    assert_eq!(report.read, 0);
}
