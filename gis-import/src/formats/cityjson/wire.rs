//! CityJSON as it is written: what is taken of a text, with bounds, before anything is made of it.
//!
//! # Invariants
//! - Objects, geometries and attributes stay texts until they are asked for, and a list of lists is read into
//!   flat ones: what is held is at most a few times the text.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use twin_core::space::MAX_VERTICES;

/// Most city objects of a document, or of one feature of `CityJSONSeq`.
pub const MAX_OBJECTS: usize = 4_000_000;
/// Most vertices of a document, or of one feature of `CityJSONSeq`.
pub const MAX_DOCUMENT_VERTICES: usize = 16 << 20;
/// Most templates of a document.
pub const MAX_TEMPLATES: usize = 100_000;
/// Most corners of one geometry, and most lists of each level that they stand in.
pub const MAX_CORNERS: usize = MAX_VERTICES;
/// Greatest whole number of a vertex: sums of products of such numbers are exact.
pub(super) const MAX_NUMBER: i64 = 1 << 50;
/// Levels of lists that boundaries can have: corners, rings, faces, shells, solids.
const LEVELS: usize = 5;

/// A vertex in whole numbers, before the transform.
pub(super) type Vertex = [i64; 3];

/// A document, its first line in `CityJSONSeq`, or a feature there.
#[derive(Deserialize)]
pub(super) struct Document<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) version: Option<Cow<'a, str>>,
    pub(super) transform: Option<Transform>,
    #[serde(borrow)]
    pub(super) metadata: Option<Metadata<'a>>,
    #[serde(rename = "CityObjects", borrow)]
    pub(super) objects: Option<Objects<'a>>,
    pub(super) vertices: Option<Bounded<Vertex, MAX_DOCUMENT_VERTICES>>,
    #[serde(rename = "geometry-templates", borrow)]
    pub(super) templates: Option<Templates<'a>>,
    #[serde(borrow)]
    pub(super) appearance: Option<&'a RawValue>,
}

/// What says how to read a document.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub(super) version: Option<Cow<'a, str>>,
}

/// What whole numbers mean: each times the scale, then moved.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Transform {
    pub(super) scale: [f64; 3],
    pub(super) translate: [f64; 3],
}

#[derive(Deserialize)]
pub(super) struct Metadata<'a> {
    #[serde(rename = "referenceSystem", borrow)]
    pub(super) system: Option<Cow<'a, str>>,
}

/// Ids and texts of objects in the order of the file.
#[derive(Default)]
pub(super) struct Objects<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

/// A list of so many at most.
pub(super) struct Bounded<T, const MOST: usize>(pub(super) Vec<T>);

impl<T, const MOST: usize> Default for Bounded<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[derive(Deserialize)]
pub(super) struct Templates<'a> {
    #[serde(borrow, default)]
    pub(super) templates: Bounded<&'a RawValue, MAX_TEMPLATES>,
    #[serde(rename = "vertices-templates", default)]
    pub(super) vertices: Bounded<[f64; 3], MAX_DOCUMENT_VERTICES>,
}

/// A city object.
#[derive(Deserialize)]
pub(super) struct Object<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) attributes: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) geometry: Option<Vec<&'a RawValue>>,
    pub(super) parents: Option<Vec<String>>,
    pub(super) children: Option<Vec<String>>,
}

/// A geometry of an object or a template.
#[derive(Deserialize)]
pub(super) struct Geometry<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) lod: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) boundaries: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) semantics: Option<&'a RawValue>,
    pub(super) template: Option<usize>,
    #[serde(rename = "transformationMatrix")]
    pub(super) matrix: Option<[f64; 16]>,
}

#[derive(Deserialize)]
pub(super) struct Semantics<'a> {
    #[serde(borrow, default)]
    pub(super) surfaces: Vec<Kind<'a>>,
    #[serde(borrow)]
    pub(super) values: Option<&'a RawValue>,
}

/// What a semantic surface, or an object of which nothing else is asked, says that it is.
#[derive(Deserialize)]
pub(super) struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Objects<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Objects<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of city objects by their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut objects = Vec::new();
                while let Some(id) = map.next_key::<Id<'de>>()? {
                    if objects.len() == MAX_OBJECTS {
                        let limit = format!("more than MAX_OBJECTS = {MAX_OBJECTS} city objects");
                        return Err(A::Error::custom(limit));
                    }
                    objects.push((id.0, map.next_value()?));
                }
                Ok(Objects(objects))
            }
        }
        from.deserialize_map(Pairs)
    }
}

/// A key that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Id<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
            type Value = Bounded<T, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if list.len() == MOST {
                        let limit = format!("a list of more than the limit of {MOST}");
                        return Err(A::Error::custom(limit));
                    }
                    list.push(item);
                }
                Ok(Bounded(list))
            }
        }
        from.deserialize_seq(List::<T, MOST>(PhantomData))
    }
}

/// Lists of lists, laid flat: of numbers of vertices, or of numbers of semantic surfaces.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Nested<T> {
    pub(super) leaves: Vec<T>,
    /// For each level of lists where each of its lists ends in the level below; the innermost come first.
    pub(super) ends: [Vec<u32>; LEVELS],
    /// How many lists are null, and so have nothing in them.
    pub(super) nulls: usize,
}

impl<T: DeserializeOwned> Nested<T> {
    /// Reads lists of so many levels.
    pub(super) fn read(text: &RawValue, levels: usize) -> Result<Self, serde_json::Error> {
        let mut nested = Self {
            leaves: Vec::new(),
            ends: Default::default(),
            nulls: 0,
        };
        let lists = Lists {
            levels,
            out: &mut nested,
        };
        lists.deserialize(&mut serde_json::Deserializer::from_str(text.get()))?;
        Ok(nested)
    }
}

impl<T> Nested<T> {
    /// What a list of a level holds, as numbers of the level below.
    pub(super) fn span(&self, level: usize, number: usize) -> Range<usize> {
        let ends = &self.ends[level];
        let start = number.checked_sub(1).map_or(0, |before| ends[before]);
        start as usize..ends[number] as usize
    }
}

struct Lists<'o, T> {
    levels: usize,
    out: &'o mut Nested<T>,
}

impl<T> Lists<'_, T> {
    /// The list at hand has all that it holds.
    fn end<E: Error>(self) -> Result<(), E> {
        let Self { levels, out } = self;
        let held = match levels.checked_sub(2) {
            None => out.leaves.len(),
            Some(below) => out.ends[below].len(),
        };
        let ends = &mut out.ends[levels - 1];
        if ends.len() == MAX_CORNERS {
            let limit = format!("more than MAX_CORNERS = {MAX_CORNERS} lists");
            return Err(E::custom(limit));
        }
        ends.push(held as u32);
        Ok(())
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Lists<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        // Not a list in any case: it may be null.
        from.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Lists<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lists of {} levels", self.levels)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.out.nulls += 1;
        self.end()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { levels, out } = self;
        if levels == 1 {
            while let Some(leaf) = seq.next_element()? {
                if out.leaves.len() == MAX_CORNERS {
                    let limit = format!("more than MAX_CORNERS = {MAX_CORNERS} corners");
                    return Err(A::Error::custom(limit));
                }
                out.leaves.push(leaf);
            }
        } else {
            let inner = levels - 1;
            loop {
                let list = Lists {
                    levels: inner,
                    out: &mut *out,
                };
                if seq.next_element_seed(list)?.is_none() {
                    break;
                }
            }
        }
        Lists { levels, out }.end()
    }
}
