//! Files as people have them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

fn data() -> Option<PathBuf> {
    let data = std::env::var_os("TWIN_DATA").map(PathBuf::from);
    data.filter(|path| path.is_dir())
        .map(|path| path.join("world"))
}

type Counts = &'static [(&'static str, usize)];

#[test]
fn real_files_have_the_objects_they_are_known_to_have() {
    let Some(world) = data() else { return };
    // Where no system is stated, one that they could be in; local ones are put near Delft.
    let local = "+proj=tmerc +lat_0=52 +lon_0=4.3 +k=1 +x_0=0 +y_0=0 +ellps=GRS80 +units=m";
    let (rd, none) = ("EPSG:7415", "");
    let files: [(&str, &str, Counts, usize, usize); 10] = [
        // Types; how many have a solid; how many lack a geometry that can be used.
        (
            "rotterdam_delfshaven_3-20.city.json.gz",
            none,
            &[("Building", 853)],
            853,
            0,
        ),
        ("rotterdam_subset.city.json", rd, &[("Building", 16)], 16, 0),
        (
            "delft.city.json.gz",
            none,
            &[
                ("Bridge", 3),
                ("Building", 160),
                ("GenericCityObject", 54),
                ("LandUse", 81),
                ("PlantCover", 126),
                ("Road", 143),
                ("WaterBody", 3),
            ],
            usize::MAX,
            usize::MAX,
        ),
        (
            "denhaag_01_subset.city.json",
            rd,
            &[("Building", 4), ("BuildingPart", 8)],
            9,
            0,
        ),
        (
            "denhaag_random_5.city.jsonl",
            none,
            &[("Building", 5), ("BuildingPart", 12)],
            14,
            0,
        ),
        (
            "3dbag_b2.city.json",
            none,
            &[("Building", 2), ("BuildingPart", 2)],
            2,
            0,
        ),
        (
            "3dbag_b2.city.jsonl",
            none,
            &[("Building", 2), ("BuildingPart", 2)],
            2,
            0,
        ),
        (
            "geom_temp.city.jsonl",
            local,
            &[
                ("Bridge", 1),
                ("CityObjectGroup", 1),
                ("GenericCityObject", 1),
                ("SolitaryVegetationObject", 15),
            ],
            17,
            0,
        ),
        (
            "geomtemplate_2.city.json",
            local,
            &[("SolitaryVegetationObject", 1)],
            1,
            0,
        ),
        (
            "noise_extension.city.jsonl",
            local,
            &[
                ("+NoiseCityFurnitureSegment", 2),
                ("Building", 2),
                ("CityFurniture", 1),
            ],
            0,
            5,
        ),
    ];
    for (file, crs, types, solids, unusable) in files {
        let options = Options {
            crs: (!crs.is_empty()).then(|| crs.into()),
            ..Options::default()
        };
        let begun = std::time::Instant::now();
        let said = read_file(&world.join("cityjson").join(file), &options);
        assert_eq!((said.error, &said.refused[..]), (None, &[][..]), "{file}");
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut with_solid, mut lacking, mut invalid) = (0, 0, Vec::new());
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        for feature in &said.features {
            *found.entry(text(feature, "$type")).or_default() += 1;
            let wkb = match &feature.geometry {
                None => continue,
                Some(RawGeometry::Lacking { kind, .. }) => {
                    *told.entry(*kind).or_default() += 1;
                    lacking += 1;
                    continue;
                }
                Some(RawGeometry::Part { wkb, kind, .. }) => {
                    *told.entry(*kind).or_default() += 1;
                    wkb
                }
                Some(RawGeometry::Wkb(wkb)) => wkb,
                other => panic!("{other:?}"),
            };
            match Shape::from_wkb(wkb) {
                Ok(shape) => with_solid += usize::from(shape.solid().is_some()),
                Err(error) => invalid.push((text(feature, "$id").to_owned(), error.to_string())),
            }
        }
        println!(
            "{file}: {found:?}, {with_solid} solids, {lacking} lacking, {told:?}, {:?}, {:?}",
            said.remarks,
            begun.elapsed()
        );
        assert_eq!(found.into_iter().collect::<Vec<_>>(), types, "{file}");
        assert!(
            invalid.is_empty(),
            "{file}: {} {:?}",
            invalid.len(),
            invalid.first()
        );
        if solids != usize::MAX {
            assert_eq!((with_solid, lacking), (solids, unusable), "{file}");
        }
    }
    let [one, other] = ["3dbag_b2.city.json", "3dbag_b2.city.jsonl"].map(|file| {
        let said = read_file(&world.join("cityjson").join(file), &Options::default());
        let pairs = said
            .features
            .iter()
            .filter(|f| text(f, "$type") == "BuildingPart");
        let mut shapes: Vec<_> = pairs
            .map(|f| (text(f, "$id").to_owned(), shape(f)))
            .collect();
        shapes.sort_by(|a, b| a.0.cmp(&b.0));
        shapes
    });
    assert_eq!(one.len(), 2);
    for ((id, one), (same, other)) in one.iter().zip(&other) {
        assert_eq!((id, faces(one)), (same, faces(other)));
        assert_eq!(
            one.geometry(),
            other.geometry(),
            "the same content in either form"
        );
    }
}

#[test]
fn broken_files_get_the_answer_that_is_due() {
    let Some(world) = data() else { return };
    let read = |file: &str| read_file(&world.join("broken").join(file), &Options::default());
    for (file, parts) in [
        (
            "invalid_json.city.json",
            &["line 3, column", "not JSON"][..],
        ),
        ("with-errors.city.json", &["line 1934, column", "not JSON"]),
        (
            "unclosedbracket.city.jsonl",
            &["line 1, column 313", "not JSON"],
        ),
        (
            "notransform.city.jsonl",
            &["no transform", "scale and translate"],
        ),
    ] {
        let said = read(file);
        assert!(
            said.features.is_empty() && said.refused.is_empty(),
            "{file}"
        );
        let error = said.error.unwrap().to_string();
        println!("{error}");
        for part in parts {
            assert!(error.contains(part), "{error}");
        }
    }
    let said = read("several_lods_invalid.city.json");
    assert_eq!((said.features.len(), said.error), (2, None));
    let part = &said.features[0];
    assert_eq!(
        (text(part, "$type"), text(part, "$lod")),
        ("BuildingPart", "2.2")
    );
    let (_, told) = wkb(part);
    println!("{told:?}");
    assert!(told.unwrap().1.contains("geometry 2 (LoD 1.3)"), "{told:?}");
    covers(&shape(&said.features[1]), shape(part).area_m2());
}
