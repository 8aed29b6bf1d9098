//! Positions against those of PROJ, and what is refused.

use std::path::PathBuf;

use super::*;

/// Made with pyproj 3.7.2 (PROJ 9.5.1, network off, so without grids), for each code and three points
/// drawn around the middle of its use:
/// `Transformer.from_crs("EPSG:…", "OGC:CRS84", always_xy=True, allow_ballpark=False).transform(x, y)`.
#[rustfmt::skip]
#[expect(clippy::unreadable_literal, reason = "numbers as they were printed")]
const PROJ_SAYS: &[(u32, f64, f64, f64, f64)] = &[
    (32736, 163227.197, 9697470.404, 29.97149829606, -2.7332167368),
    (32736, 272439.135, 9679488.431, 30.95280341812, -2.89788380052),
    (32736, 233923.013, 9747541.918, 30.60764601585, -2.2820532747),
    (32635, 563862.578, 112261.765, 27.57399677747, 1.01561503592),
    (32635, 557021.344, 95132.243, 27.51248697739, 0.86065593837),
    (32635, 567830.55, 15530.061, 27.60956627193, 0.14049732558),
    (2056, 2640316.058, 1259651.144, 7.97355757319, 47.48638947367),
    (2056, 2571662.345, 1118661.495, 7.07140588754, 46.2188018316),
    (2056, 2685781.03, 1288358.977, 8.58229967733, 47.74018879099),
    (21781, 676083.972, 159564.979, 8.43130885539, 46.58302900834),
    (21781, 770128.245, 79728.807, 9.62876532966, 45.84782364098),
    (21781, 741356.441, 135742.961, 9.27540538164, 46.35817951175),
    (28992, 106555.028, 397562.055, 4.68851016973, 51.56490913894),
    (28992, 129883.161, 506168.553, 5.01696364858, 52.54257690721),
    (28992, 112234.304, 469756.347, 4.76145275415, 52.21424023385),
    (2263, 1050584.799, 161853.414, -73.76108652966, 40.61067827883),
    (2263, 1025404.749, 82839.421, -73.85225553427, 40.39395228176),
    (2263, 889572.766, 119500.534, -74.34039882999, 40.49417109776),
    (2154, 744912.788, 6566392.969, 3.58239984526, 46.19588768208),
    (2154, 576961.996, 6641168.768, 1.38488302304, 46.85935982792),
    (2154, 639190.85, 6506908.641, 2.21910626175, 45.65902139055),
    (31370, 209014.152, 169654.834, 5.20651074923, 50.83431065517),
    (31370, 115830.012, 146152.53, 3.88583162437, 50.62503183806),
    (31370, 163420.247, 202258.581, 4.56047160383, 51.13023099697),
    (3857, 6404592.658, -2250918.266, 57.53343473241, -19.81322774798),
    (3857, 9753923.066, -4039881.737, 87.62098170314, -34.08247462714),
    (3857, 2245841.629, 2225686.02, 20.17473861043, 19.59983808019),
    (25833, 287806.487, 5760387.689, 11.91190720685, 51.95364502454),
    (25833, 245684.473, 5846273.702, 11.23524354892, 52.70650659819),
    (25833, 540050.699, 5795314.611, 15.58742519518, 52.3067089526),
    (4258, 13.7547781, 48.6962326, 13.7547781, 48.6962326),
    (4258, 11.9529537, 50.6605891, 11.9529537, 50.6605891),
    (4258, 10.798952, 49.6934373, 10.798952, 49.6934373),
    (3035, 4866637.427, 4288106.005, 20.19903341119, 61.33830299658),
    (3035, 4271803.593, 3593866.968, 9.22295012587, 55.44719630945),
    (3035, 3508312.391, 3755718.632, -3.17991717311, 56.23133244469),
    (6677, 23316.851, 76627.296, 140.0942577093, 36.69033431124),
    (6677, 55250.016, -33285.535, 140.44384957371, 35.69843374089),
    (6677, -23527.506, 26228.616, 139.57158288906, 36.23611379904),
    (2193, 1275737.686, 5436179.953, 169.13537756299, -41.16087979924),
    (2193, 1354597.558, 5278353.296, 170.00829027509, -42.60819766404),
    (2193, 1288143.408, 5579925.196, 169.35372652195, -39.87342144429),
    (3413, -261229.163, -2007732.754, -52.41319554778, 71.46660767305),
    (3413, -40496.306, -1063338.071, -47.18100591466, 80.19990763385),
    (3413, -249792.181, -1693967.741, -53.38837396887, 74.28862361746),
];

/// Metres between positions that are near each other.
fn metres(a: (f64, f64), b: (f64, f64)) -> f64 {
    let degree = 111_319.5;
    let east = (a.0 - b.0) * degree * a.1.to_radians().cos();
    let north = (a.1 - b.1) * degree;
    east.hypot(north)
}

#[test]
fn positions_are_those_of_proj() {
    for &(code, x, y, lon, lat) in PROJ_SAYS {
        let crs = Crs::from_epsg(code).unwrap();
        let off = metres(crs.degrees(x, y).unwrap(), (lon, lat));
        let allowed = if code == 28992 { 0.01 } else { 0.002 };
        assert!(off < allowed, "EPSG:{code} [{x}, {y}]: {off} m off");
    }
}

/// The same systems as `.prj` files have them: by pyproj, `CRS.from_epsg(…).to_wkt("WKT1_ESRI")`.
const ESRI: &[(u32, &str)] = &[
    (
        32736,
        r#"PROJCS["WGS_1984_UTM_Zone_36S",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],PARAMETER["False_Easting",500000.0],PARAMETER["False_Northing",10000000.0],PARAMETER["Central_Meridian",33.0],PARAMETER["Scale_Factor",0.9996],PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]"#,
    ),
    (
        2263,
        r#"PROJCS["NAD_1983_StatePlane_New_York_Long_Island_FIPS_3104_Feet",GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Lambert_Conformal_Conic"],PARAMETER["False_Easting",984250.0],PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",-74.0],PARAMETER["Standard_Parallel_1",40.6666666666667],PARAMETER["Standard_Parallel_2",41.0333333333333],PARAMETER["Latitude_Of_Origin",40.1666666666667],UNIT["Foot_US",0.304800609601219]]"#,
    ),
    (
        2056,
        r#"PROJCS["CH1903+_LV95",GEOGCS["GCS_CH1903+",DATUM["D_CH1903+",SPHEROID["Bessel_1841",6377397.155,299.1528128]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Hotine_Oblique_Mercator_Azimuth_Center"],PARAMETER["False_Easting",2600000.0],PARAMETER["False_Northing",1200000.0],PARAMETER["Scale_Factor",1.0],PARAMETER["Azimuth",90.0],PARAMETER["Longitude_Of_Center",7.43958333333333],PARAMETER["Latitude_Of_Center",46.9524055555556],UNIT["Meter",1.0]]"#,
    ),
    (
        28992,
        r#"PROJCS["RD_New",GEOGCS["GCS_Amersfoort",DATUM["D_Amersfoort",SPHEROID["Bessel_1841",6377397.155,299.1528128]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Double_Stereographic"],PARAMETER["False_Easting",155000.0],PARAMETER["False_Northing",463000.0],PARAMETER["Central_Meridian",5.38763888888889],PARAMETER["Scale_Factor",0.9999079],PARAMETER["Latitude_Of_Origin",52.1561605555556],UNIT["Meter",1.0]]"#,
    ),
    (
        3857,
        r#"PROJCS["WGS_1984_Web_Mercator_Auxiliary_Sphere",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Mercator_Auxiliary_Sphere"],PARAMETER["False_Easting",0.0],PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",0.0],PARAMETER["Standard_Parallel_1",0.0],PARAMETER["Auxiliary_Sphere_Type",0.0],UNIT["Meter",1.0]]"#,
    ),
    (
        25833,
        r#"PROJCS["ETRS_1989_UTM_Zone_33N",GEOGCS["GCS_ETRS_1989",DATUM["D_ETRS_1989",SPHEROID["GRS_1980",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],PARAMETER["False_Easting",500000.0],PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",15.0],PARAMETER["Scale_Factor",0.9996],PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]"#,
    ),
    (
        3413,
        r#"PROJCS["WGS_1984_NSIDC_Sea_Ice_Polar_Stereographic_North",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Stereographic_North_Pole"],PARAMETER["False_Easting",0.0],PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",-45.0],PARAMETER["Standard_Parallel_1",70.0],UNIT["Meter",1.0]]"#,
    ),
    (
        3035,
        r#"PROJCS["ETRS_1989_LAEA",GEOGCS["GCS_ETRS_1989",DATUM["D_ETRS_1989",SPHEROID["GRS_1980",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Lambert_Azimuthal_Equal_Area"],PARAMETER["False_Easting",4321000.0],PARAMETER["False_Northing",3210000.0],PARAMETER["Central_Meridian",10.0],PARAMETER["Latitude_Of_Origin",52.0],UNIT["Meter",1.0]]"#,
    ),
];

#[test]
fn a_prj_file_means_what_its_code_means() {
    for &(code, text) in ESRI {
        let crs = Crs::parse(text).unwrap_or_else(|error| panic!("{code}: {error}"));
        let mut seen = 0;
        for &(of, x, y, lon, lat) in PROJ_SAYS.iter().filter(|row| row.0 == code) {
            let off = metres(crs.degrees(x, y).unwrap(), (lon, lat));
            assert!(off < 0.02, "{of} [{x}, {y}]: {off} m off");
            seen += 1;
        }
        assert_eq!(seen, 3, "{code}");
    }
}

#[test]
fn the_same_system_has_many_names() {
    for text in [
        "EPSG:32736",
        "epsg:32736",
        "urn:ogc:def:crs:EPSG::32736",
        "urn:ogc:def:crs:EPSG:9.9:32736",
        "http://www.opengis.net/def/crs/EPSG/0/32736",
        "+proj=utm +zone=36 +south +datum=WGS84 +units=m",
    ] {
        let (lon, lat) = Crs::parse(text)
            .unwrap()
            .degrees(233_923.013, 9_747_541.918)
            .unwrap();
        assert!(
            metres((lon, lat), (30.607_646_015_9, -2.282_053_274_7)) < 0.001,
            "{text}"
        );
    }
    for text in [
        "EPSG:4269",
        "EPSG:4258",
        "EPSG:4326",
        "OGC:CRS84",
        "urn:ogc:def:crs:OGC:1.3:CRS84",
        "WGS84",
        "EPSG:4979",
    ] {
        assert!(Crs::parse(text).unwrap().is_wgs84(), "{text}");
    }
}

#[test]
fn what_is_not_known_says_how_to_give_it() {
    for (text, reason) in [
        ("UTM 36S", "names no coordinate system"),
        ("EPSG:99999", "not a coordinate system that is known"),
        ("EPSG:4978", "geocentric"),
        ("EPSG:4267", "grid file"),
        ("+proj=utm +zone=35 +ellps=clrk80", "+towgs84"),
        ("+proj=gibberish +datum=WGS84", "cannot be used"),
        ("LOCAL_CS[\"site\"]", "has no place on Earth"),
        ("PROJCRS[\"x\"]", "WKT 2"),
        ("GEOGCS[\"x\"", "not WKT 1"),
        (
            "GEOGCS[\"x\",DATUM[\"d\",SPHEROID[\"Bessel\",6377397.155,299.1528128]],PRIMEM[\"Greenwich\",0],UNIT[\"degree\",0.0174532925199433]]",
            "TOWGS84",
        ),
        (
            "GEOGCS[\"x\",DATUM[\"d\",SPHEROID[\"WGS\",6378137,298.257223563]],PRIMEM[\"Paris\",2.33722917],UNIT[\"degree\",0.0174532925199433]]",
            "another meridian",
        ),
    ] {
        let told = Crs::parse(text).unwrap_err();
        assert!(
            told.contains(reason) && told.contains("crs = "),
            "{text}: {told}"
        );
    }
    let odd = ESRI[0].1.replace("Scale_Factor", "Skew");
    assert!(Crs::parse(&odd).unwrap_err().contains("a skew of 0.9996"));
    let odd = ESRI[0].1.replace("Transverse_Mercator", "Bonne");
    assert!(Crs::parse(&odd).unwrap_err().contains("projection bonne"));
    let deep = "A[".repeat(10_000);
    assert!(Crs::parse(&deep).unwrap_err().contains("nests deeper"));
}

#[test]
fn a_position_that_makes_no_sense_is_refused() {
    let utm = Crs::from_epsg(32736).unwrap();
    for (x, y) in [
        (f64::NAN, 1.0),
        (f64::INFINITY, 1.0),
        (30.0, -2.0),   // degrees
        (5.0e7, 9.7e6), // once around
        (1e300, -1e300),
    ] {
        assert!(
            utm.degrees(x, y).is_err(),
            "[{x}, {y}] became {:?}",
            utm.degrees(x, y)
        );
    }
    let etrs = Crs::from_epsg(4258).unwrap();
    assert!(etrs.degrees(10.0, 91.0).is_err());
    assert!(etrs.degrees(3_500_000.0, 5_800_000.0).is_err());
    // Beyond the end of the Earth by rounding alone.
    let there = etrs.degrees(180.000_000_000_000_06, -90.000_000_000_01);
    assert_eq!(there, Ok((180.0, -90.0)));
    let told = utm.degrees(30.0, -2.0).unwrap_err();
    assert!(
        told.contains("looks like degrees") && told.contains("EPSG:32736"),
        "{told}"
    );
}

#[test]
fn heights_in_feet_become_metres() {
    let text = format!(
        "COMPD_CS[\"both\",{},VERT_CS[\"NAVD88 (ftUS)\",VERT_DATUM[\"NAVD88\",2005],UNIT[\"Foot_US\",0.3048006096012192],AXIS[\"Up\",UP]]]",
        ESRI[1].1
    );
    let crs = Crs::parse(&text).unwrap();
    assert!((crs.metres(100.0) - 30.480_060_96).abs() < 1e-6);
    assert_eq!(Crs::parse(ESRI[1].1).unwrap().metres(100.0), 100.0);
}

/// The published test points of the world data, of systems that are read here.
#[test]
fn the_published_test_points_agree() {
    let data = std::env::var_os("TWIN_DATA").map(PathBuf::from);
    let Some(path) = data
        .map(|data| data.join("world/crs_reference.csv"))
        .filter(|path| path.is_file())
    else {
        return;
    };
    let (mut agreed, mut other) = (0, std::collections::BTreeMap::<String, u32>::new());
    for row in csv::Reader::from_path(path).unwrap().records() {
        let row = row.unwrap();
        let number = |at: usize| row[at].parse::<f64>().unwrap_or(0.0);
        let (from, to) = (row[0].parse().unwrap(), row[1].parse().unwrap());
        // A geographic system of another datum without a shift has no way here; its points are asked
        // between the two systems, as the file gives them.
        let (Some(a), Some(b)) = (definition(from), definition(to)) else {
            *other
                .entry(format!("{from} to {to}: no definition"))
                .or_default() += 1;
            continue;
        };
        let proj = |text: &str| Proj::from_proj_string(text);
        let (Ok(a), Ok(b)) = (proj(a), proj(b)) else {
            *other
                .entry(format!("{from} to {to}: not read"))
                .or_default() += 1;
            continue;
        };
        if a.is_geocent() || b.is_geocent() {
            continue;
        }
        let turn = |proj: &Proj, (x, y): (f64, f64)| {
            if proj.is_latlong() {
                (x.to_radians(), y.to_radians())
            } else {
                (x, y)
            }
        };
        let (x, y) = turn(&a, (number(2), number(3)));
        let Ok((x, y, _)) = step(&a, &b, (x, y, 0.0)) else {
            *other.entry(format!("{from} to {to}: no way")).or_default() += 1;
            continue;
        };
        let off = if b.is_latlong() {
            metres((x.to_degrees(), y.to_degrees()), (number(5), number(6)))
        } else {
            (x - number(5)).hypot(y - number(6)) * b.to_meter()
        };
        if off <= number(8).max(0.02) {
            agreed += 1;
        } else {
            *other
                .entry(format!("{from} to {to}: off by {off:.3}"))
                .or_default() += 1;
        }
    }
    println!("{agreed} agree");
    assert!(other.is_empty(), "{other:?}");
    // The others are of geocentric systems, in which no geometry of a file is.
    assert_eq!(agreed, 546);
}
