//! What mappings say when they are wrong: all of it at once, each with its place.

use super::*;

fn ontology() -> Ontology {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds/ontology");
    match Ontology::load_dir(&seeds) {
        Ok((ontology, _)) => ontology,
        Err(problems) => panic!("{problems}"),
    }
}

const HEAD: &str = "title = \"t\"\nsource = \"s\"\nlicence = \"l\"\nattribution = \"a\"\n";

fn problems(text: &str) -> String {
    match Mapping::parse("dir/test.toml", text, &ontology()) {
        Ok(_) => panic!("no problem was found"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn all_problems_are_told_at_once_with_their_line_and_a_remedy() {
    let text = format!(
        "{HEAD}atribution = \"b\"
[[file]]
name = \"../secret.csv\"
[[file]]
name = \"a.xlsx\"
[[file]]
name = \"a.csv\"
format = \"cvs\"
in = \"dta\"
[[twin]]
class = \"Vilage\"
id = \"rw:village:{{id}}\"
[[twin]]
class = \"Village\"
id = \"rw:village\"
per = \"row\"
geometry = \"point\"
[twin.set]
populaton = \"people\"
name = 5
code = {{ value = 3 }}
households = {{ column = \"h\", map = {{ few = 3, many = \"lots\" }} }}
surface = {{ column = \"s\", template = \"{{s}}\" }}
licence = {{ column = \"l\", factor = 2 }}
synthetic = {{ template = \"{{s\" }}
[[twin.relate]]
relationship = \"partof\"
target = \"rw:cell:{{cell}}\"
[[twin.relate]]
relationship = \"partOf\"
within = \"Cell\"
target = \"rw:cell:{{cell}}\"
"
    );
    let told = problems(&text);
    assert!(
        told.starts_with("17 problems in the mapping dir/test.toml\n"),
        "{told}"
    );
    // The list is long on purpose: a change of any text or place shows here.
    let lines: Vec<&str> = told.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "dir/test.toml:5: a mapping has no key `atribution`",
            "  help: did you mean `attribution`?",
            "dir/test.toml:7: `../secret.csv` is no such path",
            "  help: a path below the folder, without `..`",
            "dir/test.toml:9: the ending of `a.xlsx` tells no format",
            "  help: say `format`, one of cityjson, csv, geojson, geojsonl, geopackage, mbtiles, osm, parquet, pmtiles, shapefile, tsv",
            "dir/test.toml:12: there is no format `cvs`",
            "  help: say `format`, one of cityjson, csv, geojson, geojsonl, geopackage, mbtiles, osm, parquet, pmtiles, shapefile, tsv",
            "dir/test.toml:13: there is no folder `dta`",
            "  help: `data`, `seeds` or `given`",
            "dir/test.toml:15: there is no class `Vilage`",
            "  help: did you mean `Village`?",
            "dir/test.toml:20: there is no `per` of `row`",
            "  help: `feature`, `value`, `set` or `known`",
            "dir/test.toml:21: this is no source of geometry",
            "  help: \"feature\", { feature = \"area\" }, or { lon = \"column\", lat = \"column\" }",
            "dir/test.toml:23: Village has no property `populaton`",
            "  help: did you mean `population`?",
            "dir/test.toml:24: expected where the value comes from, found a number",
            "  help: a column's name, { value = \u{2026} }, { template = \u{2026} } or { column = \u{2026} }",
            "dir/test.toml:25: expected a text, found 3",
            "dir/test.toml:26: expected an integer from -2147483648 to 2147483647, found the text \"lots\"",
            "dir/test.toml:27: it is not clear where the value comes from",
            "  help: exactly one of value, template, column and which; comma, factor, map, null, other, plus, range, unit, words with column",
            "dir/test.toml:28: a factor needs a number, and the property is a text",
            "dir/test.toml:29: a `{` is not closed; columns stand as `{column}`",
            "dir/test.toml:31: Village has no relationship `partof`",
            "  help: did you mean `partOf`?",
            "dir/test.toml:33: a relationship has one of `target`, `from`, `within` and `named`",
            "  help: the twin of an id, the one that holds the geometry, or those that a column names",
        ]
    );
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let told = problems(&format!("{HEAD}[[file]\nname = 1\n"));
    assert!(told.contains("dir/test.toml:5:"), "{told}");
}

#[test]
fn what_is_said_of_a_file_must_be_known_and_mean_something_to_it() {
    let told = problems(&format!(
        "{HEAD}[[file]]\nname = \"a.shp\"\ncrs = \"EPSG:99999\"\nencoding = \"Klingon\"\n\
         [[file]]\nname = \"b.pmtiles\"\nzoom = 99\nshape = \"round\"\n\
         [[file]]\nname = \"c.csv\"\nlayer = \"x\"\n\
         [[file]]\nname = \"d.gpkg\"\njoin = [\"x\"]\n\
         [[file]]\nname = \"e.mbtiles\"\ncrs = \"EPSG:4326\"\n\
         [[twin]]\nclass = \"Village\"\nid = \"v:{{c}}\"\n"
    ));
    for text in [
        "test.toml:7: EPSG:99999 is not a coordinate system that is known here",
        "test.toml:8: there is no encoding `Klingon`",
        "test.toml:11: a zoom is a whole number from 0 to 30",
        "test.toml:12: there is no shape `round`",
        "test.toml:15: `layer` means nothing to a file of this format",
        "test.toml:18: `join` means nothing to a file of this format",
        "test.toml:21: `crs` means nothing to a file of this format",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
    assert!(told.starts_with("7 problems"), "{told}");
    let text = format!(
        "{HEAD}[[file]]\nname = \"a.pmtiles\"\nlayer = \"pipes\"\nzoom = 14\njoin = \"id\"\nshape = \"line\"\n\
         [[twin]]\nclass = \"Village\"\nid = \"v:{{c}}\"\n"
    );
    let mapping = Mapping::parse("a/set.toml", &text, &ontology()).unwrap();
    let Options {
        layer,
        crs,
        encoding,
        zoom,
        join,
        shape,
    } = &mapping.files[0].options;
    assert_eq!(
        (layer.as_deref(), zoom, join.len()),
        (Some("pipes"), &Some(14), 1)
    );
    assert_eq!((crs, encoding, shape.is_some()), (&None, &None, true));
}

#[test]
fn what_is_missing_is_named() {
    let told = problems("title = 3\n[[twin]]\n[[file]]\n");
    for text in [
        "expected a text, found a number",
        "a mapping needs `source`",
        "a mapping needs `licence`",
        "a mapping needs `attribution`",
        "a rule needs `id`",
        "a rule needs `class`",
        "a file needs `name`",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
    let told = problems(HEAD);
    assert!(
        told.contains("there is no `[[file]]`") && told.contains("there is no `[[twin]]`"),
        "{told}"
    );
}

#[test]
fn ids_that_cannot_work_are_refused() {
    let rule = |rest: &str| {
        problems(&format!(
            "{HEAD}[[file]]\nname = \"a.csv\"\n[[twin]]\nclass = \"Village\"\n{rest}"
        ))
    };
    assert!(rule("id = \"rw:village\"").contains("every feature would have the same id"));
    assert!(rule("id = \"rw:{c}\"\nper = \"set\"").contains("a twin of the set has no columns"));
    assert!(rule("id = \"rw village {c}\"").contains("is not a twin id"));
}

#[test]
fn a_search_in_what_the_set_makes_itself_is_refused() {
    let told = problems(&format!(
        "{HEAD}[[file]]\nname = \"a.geojson\"\n[[twin]]\nclass = \"Village\"\nid = \"v:{{c}}\"\n\
         geometry = \"feature\"\n[[twin.relate]]\nrelationship = \"partOf\"\nwithin = \"Village\"\n"
    ));
    assert!(told.contains("looks for what this set makes"), "{told}");
    let told = problems(&format!(
        "{HEAD}[[file]]\nname = \"a.csv\"\n[[twin]]\nclass = \"Hospital\"\nid = \"h:{{c}}\"\n\
         [[twin.relate]]\nrelationship = \"locatedIn\"\nwithin = \"Province\"\n"
    ));
    assert!(told.contains("`within` needs a geometry"), "{told}");
    assert!(
        told.contains("leads to Village, which Province is not"),
        "{told}"
    );
}

#[test]
fn a_mapping_that_cannot_be_read_says_so() {
    let error = Mapping::load(Path::new("/nowhere/x.toml"), &ontology()).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn a_mapping_wants_exactly_the_columns_it_names() {
    let text = format!(
        "{HEAD}[[file]]\nname = \"a.csv\"\n[[twin]]\nclass = {{ column = \"kind\", map = {{ h = \"Hospital\" }} }}\n\
         id = \"h:{{code|slug}}\"\nwhen = {{ open = \"yes\" }}\ngeometry = {{ lon = \"x\", lat = \"y\" }}\n\
         [twin.set]\nname = \"label\"\n[[twin.relate]]\nrelationship = \"operates\"\nfrom = \"i:{{owner}}\"\n"
    );
    let mapping = Mapping::parse("a/set.toml", &text, &ontology()).unwrap();
    assert_eq!(&*mapping.set, "set");
    let wanted = mapping.wanted();
    let columns: Vec<&str> = wanted.columns.iter().map(|c| &**c).collect();
    assert_eq!(
        columns,
        ["code", "kind", "label", "open", "owner", "x", "y"]
    );
    assert!(!wanted.geometry);
    assert!(mapping.is_null("") && !mapping.is_null("-999"));
}

#[test]
fn what_a_value_or_a_known_twin_cannot_be_is_told() {
    let told = problems(&format!(
        "{HEAD}[[file]]\nname = \"a.csv\"\n[[twin]]\nper = \"known\"\nclass = \"Village\"\n\
         id = \"v:{{c}}\"\n[twin.set]\nname = {{ column = \"n\", unit = \"m\" }}\n\
         population = {{ column = \"p\", range = [3, 2] }}\n\
         households = {{ column = \"h\", range = [1] }}\n\
         code = {{ value = \"1\", range = [1, 2] }}\n"
    ));
    for text in [
        "test.toml:11: a rule for twins that are there already sets nothing",
        "test.toml:12: a unit needs a number, and the property is a text",
        "test.toml:13: this is no range",
        "test.toml:14: this is no range",
        "test.toml:15: it is not clear where the value comes from",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
}

#[test]
fn names_need_a_class_a_column_and_areas() {
    let told = |named: &str| {
        problems(&format!(
            "{HEAD}[[file]]\nname = \"a.csv\"\n[[twin]]\nclass = \"WaterPoint\"\nid = \"w:{{c}}\"\n\
             [[twin.relate]]\nrelationship = \"locatedIn\"\nnamed = {named}\n"
        ))
    };
    let text = told("{ class = \"Vilage\", columns = \"v\" }");
    for problem in [
        "`named` has no key `columns`",
        "did you mean `column`?",
        "`named` needs `column`",
        "`named` needs `near`",
        "`named` needs a geometry",
    ] {
        assert!(text.contains(problem), "{problem}: {text}");
    }
    let text = told("{ class = \"Institution\", column = \"v\", near = \"Sektor\" }");
    for problem in [
        "`locatedIn` leads to Place, which Institution is not",
        "there is no class `Sektor`",
        "did you mean `Sector`?",
    ] {
        assert!(text.contains(problem), "{problem}: {text}");
    }
}

/// The problems of what properties of a building are set to.
fn settings(text: &str) -> String {
    problems(&format!(
        "{HEAD}[[file]]\nname = \"a.osm\"\n[[twin]]\nclass = \"Building\"\nid = \"b:{{$id}}\"\n\
         geometry = {{ feature = \"solid\" }}\nwhen = [{{ a = \"1\" }}, \"b\"]\n[twin.set]\n{text}"
    ))
}

#[test]
fn what_several_sources_of_a_value_cannot_be_is_told() {
    let told = settings(
        "height = [\"h\", { which = \"levels\", values = [1] }]\n\
         levels = []\n\
         heightSource = { which = \"roofHeight\", values = [\"tag\", \"guess\"] }\n\
         roofHeight = [\"a\", { column = \"b\", unit = { m = 0 }, comma = 1 }]\n\
         material = { column = \"m\", comma = true }\n\
         use = { column = \"u\", other = \"other\" }\n\
         name = { column = \"n\", whne = { a = \"1\" } }\n",
    );
    for text in [
        "test.toml:10: there is no kind of geometry `solid`",
        "test.toml:11: expected a table, found a text",
        "test.toml:13: `which` is no alternative",
        "test.toml:14: a list of nothing has no value",
        "test.toml:15: expected one of",
        "test.toml:16: a factor is a number other than 0",
        "test.toml:17: a comma needs a number, and the property is a text",
        "test.toml:18: `other` is for texts that a map lacks",
        "test.toml:19: a value has no key `whne`",
        "did you mean `when`?",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
}

#[test]
fn which_has_a_value_for_each_source() {
    let told = |set: &str| {
        let text = format!(
            "{HEAD}[[file]]\nname = \"a.osm\"\n[[twin]]\nclass = \"Building\"\nid = \"b:{{$id}}\"\n[twin.set]\n{set}"
        );
        Mapping::parse("dir/test.toml", &text, &ontology())
            .map_or_else(|error| error.to_string(), |_| String::new())
    };
    let source = "heightSource = { which = \"height\", values = [\"tag\", \"levels\"] }\n";
    assert_eq!(told(&format!("height = [\"h\", \"l\"]\n{source}")), "");
    for height in ["height = [\"h\"]\n", "height = \"h\"\n", ""] {
        let told = told(&format!("{height}{source}"));
        assert!(told.contains("one value for each place"), "{told}");
    }
}

#[test]
fn a_mapping_wants_the_columns_of_all_its_sources() {
    let text = format!(
        "{HEAD}[[file]]\nname = \"a.osm\"\n[[twin]]\nclass = \"Building\"\nid = \"b:{{$id}}\"\n\
         when = [{{ a = \"1\" }}, {{ b = \"1\", c = \"2\" }}]\ngeometry = {{ feature = \"area\" }}\n[twin.set]\n\
         height = [\"d\", {{ column = \"e\", plus = \"f\", when = {{ g = \"1\" }} }}, {{ value = 3 }}]\n"
    );
    let mapping = Mapping::parse("a/set.toml", &text, &ontology()).unwrap();
    let wanted = mapping.wanted();
    let columns: Vec<&str> = wanted.columns.iter().map(|c| &**c).collect();
    assert_eq!(columns, ["a", "b", "c", "d", "e", "f", "g"]);
    assert!(wanted.geometry);
}
