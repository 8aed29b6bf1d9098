//! `search`: twins by what people call them, best first.
//!
//! # Invariants
//! - Every twin of the class is looked at, so nothing that matches is missed, and the best `first`
//!   are kept, so memory is bounded by the page.
//! - The order is total: how it matches, then how much ground it covers, then of how many its kind is,
//!   then the label as it is written, then the id. So a district stands before the villages that are
//!   called like it, and a hospital before health posts, whatever the classes are.
//! - Text and labels are compared folded: without case and without the marks of Latin letters.
//!   Whatever is not Latin is compared as it is written, in lower case.

use std::cmp::Reverse;
use std::hint::black_box;

use ontology::ClassId;
use twin_core::{TwinRef, ValueRef, View};

use super::page::Clock;
use super::plan::{Field, Planner, Twins};
use super::root::Root;
use super::select::Merged;
use crate::api::Api;
use crate::error::Fault;
use crate::limits::{MAX_PAGE, MAX_SEARCH_BYTES, MAX_SEARCH_WORDS};

/// Twins whose texts are fetched at a time. Names and ids lie all over memory: asked for one after the
/// other each is waited for, asked for together they come together.
const AT_A_TIME: usize = 64;
/// Metres of a degree of latitude, near enough to say which area is larger.
const DEGREE: f64 = 111_195.0;

/// `first` where the query says nothing.
pub(crate) const DEFAULT_FOUND: usize = 20;

/// How a twin matches, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Matched {
    Exact,
    Prefix,
    Words,
    Part,
    Id,
}

impl Matched {
    /// All, with their name in the API and what they mean.
    pub(crate) const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Exact, "EXACT", "The text is its label or its id."),
        (Self::Prefix, "PREFIX", "Its label begins with the text."),
        (
            Self::Words,
            "WORDS",
            "Each word of the text begins a word of its label.",
        ),
        (Self::Part, "PART", "The text is somewhere in its label."),
        (Self::Id, "ID", "The text is somewhere in its id."),
    ];

    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Twins that a text finds.
#[derive(Debug)]
pub(crate) struct SearchPlan<'q> {
    text: Sought,
    /// Classes to look in, each without its subclasses.
    classes: Vec<ClassId>,
    first: usize,
    pub(crate) fields: Vec<Field<'q, FoundPart<'q>>>,
}

/// A field of `Found`.
#[derive(Debug)]
pub(crate) enum FoundPart<'q> {
    Typename,
    Twin(Twins<'q>),
    Matched,
}

pub(crate) fn plan<'q>(
    planner: Planner<'q>,
    view: &View,
    merged: &Merged<'q>,
) -> Result<Root<'q>, Fault> {
    let ask = planner.ask;
    let text = Sought::new(&ask.required_text(merged.field, "text")?)?;
    let classes = match ask.text(merged.field, "class")? {
        Some(name) => {
            let class = planner.api.class_named(&name)?.id;
            view.ontology().with_descendants(class).collect()
        }
        None => view.ontology().classes().iter().map(|c| c.id).collect(),
    };
    let first = ask.count(merged.field, "first", DEFAULT_FOUND, MAX_PAGE)?;
    let fields = planner.object(&merged.sets, "Found", |part| match part.name() {
        "twin" => FoundPart::Twin(Twins::new(part.sets.clone())),
        "matched" => FoundPart::Matched,
        _ => FoundPart::Typename,
    });
    Ok(Root::Search(Box::new(SearchPlan {
        text,
        classes,
        first,
        fields,
    })))
}

/// What is looked for, folded.
#[derive(Debug)]
struct Sought {
    whole: Vec<u8>,
    words: Vec<Vec<u8>>,
}

impl Sought {
    fn new(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        if text.is_empty() {
            let message = "`text` is empty: give at least one character of a label or an id";
            return Err(Fault::invalid(message));
        }
        if text.len() > MAX_SEARCH_BYTES {
            return Err(Fault::invalid(format!(
                "`text` has {} bytes, and {MAX_SEARCH_BYTES} are allowed (MAX_SEARCH_BYTES)",
                text.len()
            )));
        }
        let whole = fold(text).into_bytes();
        if whole.is_empty() {
            let message = "`text` has only marks and no letter to put them on";
            return Err(Fault::invalid(message));
        }
        let words: Vec<_> = words(&whole).map(<[u8]>::to_vec).collect();
        if words.len() > MAX_SEARCH_WORDS {
            return Err(Fault::invalid(format!(
                "`text` has {} words, and {MAX_SEARCH_WORDS} are allowed (MAX_SEARCH_WORDS)",
                words.len()
            )));
        }
        Ok(Self { whole, words })
    }

    /// How a label matches.
    fn in_label(&self, label: &str) -> Option<Matched> {
        if label.is_ascii() {
            self.in_folded(label.as_bytes())
        } else {
            self.in_folded(fold(label).as_bytes())
        }
    }

    fn in_folded(&self, label: &[u8]) -> Option<Matched> {
        let whole = self.whole.as_slice();
        let place = position(label, whole);
        if place == Some(0) {
            return Some(if label.len() == whole.len() {
                Matched::Exact
            } else {
                Matched::Prefix
            });
        }
        // A part that is nowhere rules out one word, but not several in another order.
        if place.is_none() && self.words.len() < 2 {
            return None;
        }
        // Where a word begins in the middle, those after it do as well.
        let before = place.and_then(|place| label.get(place.checked_sub(1)?));
        if before.is_some_and(|byte| parts(*byte)) && !self.words.is_empty() {
            return Some(Matched::Words);
        }
        let begins = |word: &Vec<u8>| words(label).any(|other| begins_with(other, word));
        if !self.words.is_empty() && self.words.iter().all(begins) {
            return Some(Matched::Words);
        }
        place.map(|_| Matched::Part)
    }

    /// Whether it is this id, whatever its case.
    fn is(&self, id: &str) -> bool {
        id.as_bytes().eq_ignore_ascii_case(&self.whole)
    }

    fn in_id(&self, id: &str) -> Option<Matched> {
        if self.is(id) {
            return Some(Matched::Exact);
        }
        position(id.as_bytes(), &self.whole).map(|_| Matched::Id)
    }
}

/// A twin that is looked at.
#[derive(Clone, Copy, Debug)]
struct Looked<'v> {
    twin: TwinRef,
    label: Option<&'v str>,
    id: &'v str,
}

impl Looked<'_> {
    fn matched(&self, text: &Sought) -> Option<Matched> {
        match self.label.and_then(|label| text.in_label(label)) {
            // An id is only better where it is the whole text.
            Some(_) if text.is(self.id) => Some(Matched::Exact),
            None => text.in_id(self.id),
            matched => matched,
        }
    }

    /// First bytes of its texts, which brings them near.
    fn touch(&self) -> u8 {
        let first = |text: &str| text.as_bytes().first().copied().unwrap_or_default();
        first(self.id) ^ self.label.map_or(0, first)
    }
}

/// A twin that was found, with what decides about its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found<'v> {
    matched: Matched,
    /// Square metres of the box around an area; what is none has none.
    ground: Reverse<u64>,
    /// How many twins of its class there are, subclasses included.
    alike: usize,
    /// Its label; what has none comes after what has.
    label: (bool, &'v str),
    id: &'v str,
    twin: TwinRef,
}

/// The twins that a text finds, best first.
pub(crate) fn search(
    api: &Api,
    view: &View,
    plan: &SearchPlan<'_>,
    clock: &Clock,
) -> Result<Vec<(TwinRef, Matched)>, Fault> {
    let mut best = Vec::new();
    // The worst that can still be among the first.
    let mut worst: Option<Found<'_>> = None;
    let mut looked = Vec::with_capacity(AT_A_TIME);
    for class in &plan.classes {
        let label_column = api.label(*class);
        let alike = view.count(*class);
        // Points cover nothing, so where there is nothing else nobody is asked for its shape.
        let has_shapes = view.located(*class).shapes > 0;
        let mut twins = view.of_class(*class);
        loop {
            let some = twins.by_ref().take(AT_A_TIME);
            looked.clear();
            looked.extend(some.map(|twin| Looked {
                twin,
                label: label_column.and_then(|column| match view.value_ref(twin, column) {
                    Some(ValueRef::Text(label)) => Some(label),
                    _ => None,
                }),
                id: view.id(twin).as_str(),
            }));
            if looked.is_empty() || !clock.tick() {
                break;
            }
            black_box(looked.iter().fold(0, |all, one| all ^ one.touch()));
            for one in &looked {
                let Some(matched) = one.matched(&plan.text) else {
                    continue;
                };
                if worst.is_some_and(|worst| matched > worst.matched) {
                    continue;
                }
                let ground = if has_shapes {
                    covered(view, one.twin)
                } else {
                    0
                };
                let found = Found {
                    matched,
                    ground: Reverse(ground),
                    alike,
                    label: (one.label.is_none(), one.label.unwrap_or_default()),
                    id: one.id,
                    twin: one.twin,
                };
                if worst.is_some_and(|worst| found > worst) {
                    continue;
                }
                best.push(found);
                if best.len() >= 2 * (plan.first + 1) {
                    best.select_nth_unstable(plan.first);
                    best.truncate(plan.first + 1);
                    worst = best.last().copied();
                }
            }
        }
    }
    clock.check()?;
    best.sort_unstable();
    best.truncate(plan.first);
    let found = best.into_iter().map(|found| (found.twin, found.matched));
    Ok(found.collect())
}

/// Square metres of the box around a twin that is an area. The area itself would take a look at each of
/// its vertices, and says hardly more about which of two of one name people mean.
fn covered(view: &View, twin: TwinRef) -> u64 {
    let Some(shape) = view.shape(twin).filter(|shape| shape.is_area()) else {
        return 0;
    };
    let bounds = shape.bounds();
    let narrowed = f64::midpoint(bounds.south, bounds.north).to_radians().cos();
    (bounds.width() * bounds.height() * narrowed * DEGREE * DEGREE) as u64
}

/// Where a folded part begins in a text, which is folded or ASCII of any case.
fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    let (first, rest) = part.split_first()?;
    let starts = text.len().checked_sub(rest.len())?;
    // Names are short: looking for the first byte beats preparing a better search for each.
    let (lower, upper) = (*first, first.to_ascii_uppercase());
    let mut bytes = text[..starts].iter().enumerate();
    let found = bytes.find(|(start, byte)| {
        (**byte == lower || **byte == upper) && begins_with(&text[start + 1..], rest)
    });
    found.map(|(start, _)| start)
}

fn begins_with(text: &[u8], part: &[u8]) -> bool {
    let start = text.get(..part.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(part))
}

/// Runs of letters and digits; whatever is not ASCII counts as a letter.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| parts(*byte))
        .filter(|word| !word.is_empty())
}

/// Whether a byte stands between words.
fn parts(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphanumeric()
}

/// A text without case and without the marks of Latin letters.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        let base = match c {
            // Marks that stand beside their letter.
            '\u{300}'..='\u{36f}' => continue,
            'à'..='å' | 'ā' | 'ă' | 'ą' | 'ǎ' => 'a',
            'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => 'c',
            'ď' | 'đ' | 'ð' => 'd',
            'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => 'e',
            'ĝ' | 'ğ' | 'ġ' | 'ģ' => 'g',
            'ĥ' | 'ħ' => 'h',
            'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' | 'ǐ' => 'i',
            'ĵ' => 'j',
            'ķ' => 'k',
            'ĺ' | 'ļ' | 'ľ' | 'ŀ' | 'ł' => 'l',
            'ñ' | 'ń' | 'ņ' | 'ň' | 'ŋ' => 'n',
            'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' | 'ǒ' => 'o',
            'ŕ' | 'ŗ' | 'ř' => 'r',
            'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => 's',
            'ţ' | 'ť' | 'ŧ' | 'ț' => 't',
            'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' | 'ǔ' => 'u',
            'ŵ' => 'w',
            'ý' | 'ÿ' | 'ŷ' => 'y',
            'ź' | 'ż' | 'ž' => 'z',
            'ß' => {
                folded.push('s');
                's'
            }
            'æ' => {
                folded.push('a');
                'e'
            }
            'œ' => {
                folded.push('o');
                'e'
            }
            '‘' | '’' | 'ʼ' => '\'',
            '\u{a0}' | '\u{202f}' => ' ',
            '‐'..='–' => '-',
            other => other,
        };
        folded.push(base);
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_takes_case_and_marks_away() {
        for (text, expected) in [
            ("Kigali", "kigali"),
            ("École Prıncipale", "ecole principale"),
            ("E\u{301}cole", "ecole"),
            ("Ångström ŒUVRE Straße", "angstrom oeuvre strasse"),
            ("Rwamagana–East’s", "rwamagana-east's"),
            ("ÇAĞ", "cag"),
            ("İzmir", "izmir"),
            ("Addis Abäba አዲስ", "addis ababa አዲስ"),
        ] {
            assert_eq!(fold(text), expected, "{text}");
        }
    }

    #[test]
    fn a_label_matches_best_as_a_whole_then_by_its_beginning_its_words_and_its_middle() {
        let check = |text: &str, label: &str, expected: Option<Matched>| {
            let sought = Sought::new(text).unwrap();
            assert_eq!(sought.in_label(label), expected, "{text} in {label}");
        };
        check("kigali", "Kigali", Some(Matched::Exact));
        check(" KIGALI ", "Kigali City", Some(Matched::Prefix));
        check("city", "Kigali City", Some(Matched::Words));
        check("health muh", "Muhima Health Centre", Some(Matched::Words));
        check("health cen", "Muhima Health Centre", Some(Matched::Words));
        check("h c", "Muhima Health Centre", Some(Matched::Words));
        check("gali", "Kigali City", Some(Matched::Part));
        check("hima hea", "Muhima Health Centre", Some(Matched::Part));
        check("(new)", "Market (new)", Some(Matched::Words));
        check("--", "A -- B", Some(Matched::Part));
        check("kigalii", "Kigali", None);
        check("muhima x", "Muhima Health Centre", None);
        check("ecole", "L'École", Some(Matched::Words));
    }

    #[test]
    fn a_text_that_finds_everything_or_nothing_is_refused() {
        for text in ["", "  ", "\u{301}", &"x".repeat(MAX_SEARCH_BYTES + 1)] {
            assert!(Sought::new(text).is_err(), "{text:?}");
        }
        assert!(Sought::new(&"a ".repeat(MAX_SEARCH_WORDS)).is_ok());
        assert!(Sought::new(&"a ".repeat(MAX_SEARCH_WORDS + 1)).is_err());
    }
}
