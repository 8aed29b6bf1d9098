//! Names of the API and the tables, made from names of the models.

/// Member names that every twin has of its own; a model's member of such a name gets `_` appended.
const RESERVED_MEMBERS: &[&str] = &[
    "id", "class", "label", "revision", "position", "geometry", "related",
];

/// Type names that belong to the API or to GraphQL itself, or table names of the store's.
const RESERVED_CLASSES: &[&str] = &[
    "BigInt",
    "Boolean",
    "Change",
    "Date",
    "DateTime",
    "Direction",
    "Duration",
    "Float",
    "Geometry",
    "ID",
    "Int",
    "JSON",
    "LiveChange",
    "Mutation",
    "PageInfo",
    "Path",
    "Query",
    "Reading",
    "Receipt",
    "Space",
    "Step",
    "String",
    "Subscription",
    "Time",
    "Twin",
];

/// Names that a record of a relation table has of its own, beside those of every twin.
const RESERVED_RELATION_FIELDS: &[&str] = &["in", "out"];

/// Fields of the API's query root; no list field may have such a name.
const RESERVED_QUERIES: &[&str] = &[
    "aggregate",
    "containing",
    "nearest",
    "path",
    "position",
    "search",
    "traverse",
    "twin",
];

/// The member's name in API and table.
pub(crate) fn member(name: &str) -> String {
    if RESERVED_MEMBERS.contains(&name) {
        format!("{name}_")
    } else {
        name.to_owned()
    }
}

/// The name of a relationship's property in API and table.
pub(crate) fn relation_field(name: &str) -> String {
    if RESERVED_RELATION_FIELDS.contains(&name) {
        format!("{name}_")
    } else {
        member(name)
    }
}

/// Whether the text can be the name of a list field: camelCase, and not another field's.
pub(crate) fn is_list_field(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
        && !RESERVED_QUERIES.contains(&name)
}

/// Whether no class may have this name.
pub(crate) fn is_reserved_class(name: &str) -> bool {
    RESERVED_CLASSES.contains(&name)
}

/// `health_facility`, `health-facility` and `healthFacility` as `HealthFacility`.
pub(crate) fn pascal_case(name: &str) -> String {
    let mut pascal = String::with_capacity(name.len());
    for part in name.split(['_', '-']) {
        let mut chars = part.chars();
        if let Some(first) = chars.next() {
            pascal.push(first.to_ascii_uppercase());
            pascal.push_str(chars.as_str());
        }
    }
    pascal
}

/// `HealthFacility` as `healthFacility`; a leading run of capitals goes down together
/// (`HVACZone` as `hvacZone`).
pub(crate) fn camel_case(pascal: &str) -> String {
    let capitals = pascal.chars().take_while(char::is_ascii_uppercase).count();
    let next_is_lower = pascal
        .chars()
        .nth(capitals)
        .is_some_and(|c| c.is_ascii_lowercase());
    let lowered = if capitals > 1 && next_is_lower {
        capitals - 1
    } else {
        capitals
    };
    pascal
        .chars()
        .enumerate()
        .map(|(i, c)| {
            if i < lowered {
                c.to_ascii_lowercase()
            } else {
                c
            }
        })
        .collect()
}

/// The English plural of a class name, in camelCase.
pub(crate) fn plural(class: &str) -> String {
    let singular = camel_case(class);
    let lower = singular.to_ascii_lowercase();
    let after_consonant =
        |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic() && !"aeiou".contains(c));
    if let Some(stem) = singular.strip_suffix(['y', 'Y'])
        && after_consonant(stem.to_ascii_lowercase().chars().last())
    {
        return format!("{stem}ies");
    }
    if ["s", "x", "z", "ch", "sh"]
        .iter()
        .any(|end| lower.ends_with(end))
    {
        return format!("{singular}es");
    }
    format!("{singular}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_follow_english_spelling() {
        for (class, expected) in [
            ("HealthFacility", "healthFacilities"),
            ("Village", "villages"),
            ("Country", "countries"),
            ("HealthCentre", "healthCentres"),
            ("Bus", "buses"),
            ("Box", "boxes"),
            ("Branch", "branches"),
            ("Survey", "surveys"),
            ("HVACZone", "hvacZones"),
            ("PLC", "plcs"),
        ] {
            assert_eq!(plural(class), expected);
        }
    }

    #[test]
    fn reserved_member_names_get_an_underscore() {
        assert_eq!(member("position"), "position_");
        assert_eq!(member("positionSource"), "positionSource");
    }

    #[test]
    fn class_names_are_pascal_case() {
        assert_eq!(pascal_case("air_quality-station"), "AirQualityStation");
        assert_eq!(pascal_case("healthFacility"), "HealthFacility");
    }
}
