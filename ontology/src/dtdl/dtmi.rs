//! Digital twin model identifiers: `dtmi:segment:segment;version`.

/// Most characters of a DTMI.
pub(super) const MAX_DTMI_CHARS: usize = 2048;
/// Most characters of an interface's DTMI.
pub(super) const MAX_INTERFACE_DTMI_CHARS: usize = 128;
const MAX_MAJOR_DIGITS: usize = 9;
const MAX_MINOR_DIGITS: usize = 6;
/// Prefixes that belong to the language.
const RESERVED_PREFIXES: &[&str] = &["dtmi:dtdl:", "dtmi:standard:"];

/// Why a text is no DTMI that a model of this DTDL version may use, if it is none.
pub(super) fn fault(text: &str, version: u8, max_chars: usize) -> Option<String> {
    if text.chars().count() > max_chars {
        return Some(format!("longer than {max_chars} characters"));
    }
    let Some(rest) = text.strip_prefix("dtmi:") else {
        return Some("a DTMI starts with `dtmi:`, in lower case".to_owned());
    };
    let (segments, number) = match rest.split_once(';') {
        Some((segments, number)) => (segments, Some(number)),
        None => (rest, None),
    };
    for segment in segments.split(':') {
        if !is_segment(segment) {
            return Some(format!(
                "segment `{segment}` is not letters, digits and underscores that start with a letter \
                 and do not end with an underscore"
            ));
        }
    }
    match number {
        None if version == 2 => Some("in DTDL v2 a version is required, like `;1`".to_owned()),
        None => None,
        Some(number) => {
            let (major, minor) = match number.split_once('.') {
                Some((major, minor)) => (major, Some(minor)),
                None => (number, None),
            };
            if !is_number(major, MAX_MAJOR_DIGITS) {
                return Some(format!(
                    "version `{number}` is not a number of 1 to {MAX_MAJOR_DIGITS} digits without leading zero"
                ));
            }
            match minor {
                Some(_) if version == 2 => Some("DTDL v2 has no minor versions".to_owned()),
                Some(minor) if !is_number(minor, MAX_MINOR_DIGITS) => Some(format!(
                    "minor version `{minor}` is not a number of 1 to {MAX_MINOR_DIGITS} digits without leading zero"
                )),
                _ => None,
            }
        }
    }
}

/// Whether the language keeps this name for itself.
pub(super) fn is_reserved(text: &str) -> bool {
    RESERVED_PREFIXES
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

/// Whether a text is a name of DTDL: letters, digits, underscores; a letter first, no underscore
/// last. DTMI segments follow the same rule.
pub(super) fn is_segment(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with('_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_number(text: &str, max_digits: usize) -> bool {
    (1..=max_digits).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_digit())
        && !text.starts_with('0')
}

/// The DTMI without its version.
pub(crate) fn path(dtmi: &str) -> &str {
    dtmi.split(';').next().unwrap_or(dtmi)
}

/// The last segment, without version: a class's name.
pub(crate) fn last_segment(dtmi: &str) -> &str {
    path(dtmi).rsplit(':').next().unwrap_or(dtmi)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_valid(text: &str, version: u8) -> bool {
        fault(text, version, MAX_DTMI_CHARS).is_none()
    }

    #[test]
    fn dtmis_follow_the_grammar_of_their_version() {
        for text in ["dtmi:a:B_1:c;1", "dtmi:foo;999999999"] {
            assert!(
                is_valid(text, 2) && is_valid(text, 3) && is_valid(text, 4),
                "{text}"
            );
        }
        for text in ["dtmi:a", "dtmi:a;1.2", "dtmi:a;1.999999"] {
            assert!(
                !is_valid(text, 2) && is_valid(text, 3) && is_valid(text, 4),
                "{text}"
            );
        }
        for text in [
            "",
            "dtmi",
            "dtmi:",
            "dtmi:;1",
            "DTMI:a;1",
            "dtmi:a:;1",
            "dtmi:_a;1",
            "dtmi:a_;1",
            "dtmi:1a;1",
            "dtmi:a;0",
            "dtmi:a;01",
            "dtmi:a;",
            "dtmi:a;1.0",
            "dtmi:a;1.",
            "dtmi:a;1234567890",
            "dtmi:a;1.1234567",
            "dtmi:a-b;1",
            "dtmi:a;1#x",
            "dtmi:ä;1",
            "dtmi:a;1 ",
        ] {
            assert!(
                !is_valid(text, 2) && !is_valid(text, 3) && !is_valid(text, 4),
                "{text}"
            );
        }
    }

    #[test]
    fn a_class_is_named_by_the_last_segment() {
        assert_eq!(
            last_segment("dtmi:rw:health:HealthFacility;1"),
            "HealthFacility"
        );
        assert_eq!(
            path("dtmi:rw:health:HealthFacility;1"),
            "dtmi:rw:health:HealthFacility"
        );
    }
}
