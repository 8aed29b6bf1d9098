//! Which closed ways are areas: OSM says so by tags alone.
//!
//! # Invariants
//! - `area=yes` and `area=no` outweigh every other tag.
//! - A closed road, barrier or railway is a line unless another tag makes it an area.

use super::element::{Tags, tag};

/// Which values of a key make an area.
enum Values {
    All,
    AllBut(&'static [&'static str]),
    Only(&'static [&'static str]),
}

use Values::{All, AllBut, Only};

/// Keys that make a closed way an area, besides the value `no`.
const AREA_KEYS: [(&str, Values); 29] = [
    (
        "aeroway",
        AllBut(&["runway", "taxiway", "parking_position"]),
    ),
    ("amenity", All),
    ("area:highway", All),
    ("boundary", All),
    ("building", All),
    ("building:part", All),
    ("craft", All),
    ("golf", AllBut(&["hole", "path", "cartpath"])),
    ("healthcare", All),
    ("highway", Only(&["rest_area", "services", "elevator"])),
    ("historic", AllBut(&["citywalls"])),
    ("indoor", AllBut(&["wall", "door"])),
    ("landcover", All),
    ("landuse", All),
    ("leisure", AllBut(&["track", "slipway"])),
    (
        "man_made",
        AllBut(&[
            "breakwater",
            "cutline",
            "dyke",
            "embankment",
            "goods_conveyor",
            "groyne",
            "pier",
            "pipeline",
        ]),
    ),
    ("military", AllBut(&["trench"])),
    (
        "natural",
        AllBut(&["arete", "cliff", "coastline", "ridge", "tree_row", "valley"]),
    ),
    ("office", All),
    ("place", All),
    (
        "power",
        Only(&[
            "generator",
            "plant",
            "station",
            "sub_station",
            "substation",
            "transformer",
        ]),
    ),
    ("public_transport", AllBut(&["stop_position"])),
    (
        "railway",
        Only(&["platform", "roundhouse", "station", "turntable"]),
    ),
    ("ruins", All),
    ("shop", All),
    ("tourism", All),
    ("water", All),
    ("waterway", Only(&["boatyard", "dam", "dock", "riverbank"])),
    ("wetland", All),
];

/// Whether a closed way of these tags is an area.
pub(super) fn is_area(tags: &Tags) -> bool {
    match tag(tags, "area") {
        "yes" => return true,
        "no" => return false,
        _ => {}
    }
    AREA_KEYS.iter().any(|(key, values)| {
        let value = tag(tags, key);
        let told = !value.is_empty() && value != "no";
        told && match values {
            All => true,
            AllBut(lines) => !lines.contains(&value),
            Only(areas) => areas.contains(&value),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_alone_say_what_a_closed_way_is() {
        for (tags, area) in [
            (&[("building", "yes")][..], true),
            (&[("building", "no")], false),
            (&[("highway", "residential")], false),
            (&[("highway", "pedestrian"), ("area", "yes")], true),
            (&[("landuse", "forest"), ("area", "no")], false),
            (&[("barrier", "fence")], false),
            (&[("barrier", "fence"), ("landuse", "farmland")], true),
            (&[("railway", "rail")], false),
            (&[("railway", "platform")], true),
            (&[("natural", "coastline")], false),
            (&[("natural", "water")], true),
            (&[("waterway", "river")], false),
            (&[("waterway", "riverbank")], true),
            (&[("leisure", "park")], true),
            (&[("leisure", "track")], false),
            (&[("highway", "raceway"), ("leisure", "track")], false),
            (&[("name", "x")], false),
            (&[], false),
        ] {
            let owned = tags.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            assert_eq!(is_area(&owned.collect()), area, "{tags:?}");
        }
    }
}
