//! Real extracts: what pyosmium counts in them is what is read.

use super::*;

/// The data folder, where there is one.
fn data() -> Option<PathBuf> {
    std::env::var_os("TWIN_DATA")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
}

/// What the published list of the files says of each: objects by kind, buildings, those of them with a
/// height and with storeys, and roads; buildings and roads are ways and relations.
const COUNTS: [(&str, [u64; 3], [u64; 4]); 8] = [
    ("andorra.osm.pbf", [69_644, 2_725, 74], [294, 0, 0, 1_615]),
    (
        "liechtenstein-2015-07-27.osm.pbf",
        [142_832, 15_247, 358],
        [8_998, 0, 3, 4_660],
    ),
    (
        "monaco-latest.osm.pbf",
        [25_423, 4_106, 243],
        [1_220, 38, 109, 2_381],
    ),
    (
        "helsinki.osm.pbf",
        [24_260, 5_130, 620],
        [632, 39, 272, 2_680],
    ),
    (
        "nyc_greenwich_village.osm.pbf",
        [10_429, 1_696, 41],
        [1_568, 1_557, 68, 95],
    ),
    (
        "singapore_bayfront.osm.pbf",
        [2_843, 468, 115],
        [71, 14, 43, 334],
    ),
    (
        "north-bayreuth.osm.pbf",
        [58_631, 7_801, 179],
        [4_267, 0, 0, 2_065],
    ),
    (
        "berlin_siegessaeule.osm.gz",
        [5_117, 418, 50],
        [123, 119, 0, 146],
    ),
];

#[test]
fn the_extracts_hold_what_their_list_says() {
    let Some(data) = data() else { return };
    for (file, objects, found) in COUNTS {
        let path = data.join("world/osm").join(file);
        let mut kinds = [0; 3];
        Source::pass(&path, Keep::All, |element| {
            kinds[element.kind() as usize] += 1;
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(kinds, objects, "{file}: nodes, ways and relations");
        let mut reader = open(&path).unwrap_or_else(|error| panic!("{error}"));
        let mut counts = [0; 4];
        while let Some(item) = reader.next_item().unwrap_or_else(|error| panic!("{error}")) {
            let Item::Feature(feature) = item else {
                panic!("{item:?}");
            };
            let has = |key: &str| feature.values.contains_key(key);
            let is = |kind: &str| feature.values["$type"] == Cell::Text(kind.into());
            let building = !is("node") && (has("building") || has("building:part"));
            counts[0] += u64::from(building);
            counts[1] += u64::from(building && has("height"));
            counts[2] += u64::from(building && has("building:levels"));
            counts[3] += u64::from(!is("node") && has("highway"));
        }
        assert_eq!(counts, found, "{file}: buildings, heights, storeys, roads");
    }
}

#[test]
fn a_real_extract_that_is_cut_off_gives_nothing() {
    let Some(data) = data() else { return };
    let path = data.join("world/broken/monaco_truncated_at_200000.osm.pbf");
    let error = open(&path).map_or_else(|error| error, |_| panic!("it was opened"));
    let text = error.to_string();
    assert!(
        text.contains("cut off") && error.at.contains("blob"),
        "{text}"
    );
}
