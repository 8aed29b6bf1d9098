//! OSM XML, one object at a time.
//!
//! # Invariants
//! - Between two tags at most [`MAX_FEATURE_BYTES`] are read, so a tag nobody closes cannot fill
//!   the memory; objects have the limits of [`super::element`].
//! - The document ends with its root; anything less is a file that was cut off.
//! - Entities of the document's own are not expanded: only XML's five and character numbers are.

use std::io::{self, BufRead, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::element::{At, Body, Element, INNER, Keep, Kind, MAX_MEMBERS, MAX_TAGS, Member};
use crate::formats::input::Input;
use crate::formats::{FileError, MAX_FEATURE_BYTES};

const AGAIN: &str = "fetch the file again";
const MEND: &str = "mend the XML here, or fetch the file again";

/// A file being read.
#[derive(Debug)]
pub(super) struct Xml {
    events: Reader<Metered>,
    keep: Keep,
    buffer: Vec<u8>,
    state: State,
    /// The object whose children are being read.
    open: Option<Element>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the root.
    Start,
    /// In the root.
    Objects,
    /// In something that is no object, so many tags deep.
    Beside(u64),
    /// After the root.
    End,
}

/// Counts lines, and stops reading in the middle of a tag that is too long.
#[derive(Debug)]
struct Metered {
    input: Input,
    lines: u64,
    since_tag: usize,
}

impl BufRead for Metered {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.since_tag > MAX_FEATURE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!(
                    "a tag is more than the limit of {MAX_FEATURE_BYTES} bytes; is a quote not closed?"
                ),
            ));
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // The buffer is filled already, so this reads nothing and cannot fail.
        let consumed = self.input.fill_buf().unwrap_or_default();
        let consumed = consumed.get(..amount).unwrap_or(consumed);
        self.lines += consumed.split(|byte| *byte == b'\n').skip(1).count() as u64;
        self.since_tag += amount;
        self.input.consume(amount);
    }
}

impl Read for Metered {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let taken = available.len().min(out.len());
        out[..taken].copy_from_slice(&available[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

/// What is wrong, and how to mend it.
type Fault = (String, &'static str);

/// What a tag leads to.
enum Step {
    More,
    Done(Element),
    End,
}

impl Xml {
    pub(super) fn new(input: Input, keep: Keep) -> Self {
        let metered = Metered {
            input,
            lines: 0,
            since_tag: 0,
        };
        Self {
            events: Reader::from_reader(metered),
            keep,
            buffer: Vec::new(),
            state: State::Start,
            open: None,
        }
    }

    /// The next object; `None` at the end of the file.
    pub(super) fn element(&mut self) -> Result<Option<Element>, FileError> {
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            self.events.get_mut().since_tag = 0;
            let event = self.events.read_event_into(&mut buffer);
            let line = self.events.get_ref().lines + 1;
            let step = match event {
                Ok(event) => self.event(&event, line),
                Err(quick_xml::Error::Io(error)) => {
                    return Err(self.events.get_ref().input.failure(&error));
                }
                Err(error) => Err((format!("not XML: {error}"), MEND)),
            };
            self.buffer = buffer;
            match step {
                Ok(Step::More) => {}
                Ok(Step::Done(element)) => return Ok(Some(element)),
                Ok(Step::End) => return Ok(None),
                Err((reason, help)) => {
                    let path = self.events.get_ref().input.path();
                    return Err(FileError::new(path, format!("line {line}"), reason, help));
                }
            }
        }
    }

    fn event(&mut self, event: &Event<'_>, line: u64) -> Result<Step, Fault> {
        match event {
            Event::Start(tag) => self.start(tag, line, false),
            Event::Empty(tag) => self.start(tag, line, true),
            Event::End(tag) => self.end(tag.name().as_ref()),
            Event::Eof if self.state == State::End => Ok(Step::End),
            Event::Eof if self.state == State::Start => {
                Err(("there is no <osm>".to_owned(), AGAIN))
            }
            Event::Eof => {
                let reason = "the file is cut off: it ends before </osm>";
                Err((reason.to_owned(), AGAIN))
            }
            // Texts, comments and declarations say nothing here.
            _ => Ok(Step::More),
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>, line: u64, empty: bool) -> Result<Step, Fault> {
        let name = tag.name();
        match (self.state, &mut self.open) {
            (State::Start, _) => {
                if name.as_ref() != b"osm" {
                    let reason = format!("the root is <{}>, not <osm>", shown(name.as_ref()));
                    let help = "only whole states are read, no changes: apply them first, for \
                                example with `osmium apply-changes`";
                    return Err((reason, help));
                }
                self.state = if empty { State::End } else { State::Objects };
            }
            (State::End, _) => {
                return Err(("something follows </osm>".to_owned(), "cut it off"));
            }
            (State::Beside(depth), _) => {
                if !empty {
                    self.state = State::Beside(depth + 1);
                }
            }
            (State::Objects, None) => {
                let kind = match name.as_ref() {
                    b"node" => Kind::Node,
                    b"way" => Kind::Way,
                    b"relation" => Kind::Relation,
                    _ => {
                        if !empty {
                            self.state = State::Beside(1);
                        }
                        return Ok(Step::More);
                    }
                };
                let element = object(kind, tag, line)?;
                if !empty {
                    self.open = Some(element);
                } else if self.wants(kind) {
                    return Ok(Step::Done(element));
                }
            }
            (State::Objects, Some(element)) => {
                child(element, tag)?;
                if !empty {
                    self.state = State::Beside(1);
                }
            }
        }
        Ok(Step::More)
    }

    fn end(&mut self, name: &[u8]) -> Result<Step, Fault> {
        match (self.state, self.open.take()) {
            (State::Beside(1), open) => {
                self.state = State::Objects;
                self.open = open;
            }
            (State::Beside(depth), open) => {
                self.state = State::Beside(depth - 1);
                self.open = open;
            }
            (State::Objects, None) => self.state = State::End,
            (State::Objects, Some(element)) => {
                if self.wants(element.kind()) {
                    return Ok(Step::Done(element));
                }
            }
            (State::Start | State::End, _) => {
                let reason = format!("</{}> closes nothing", shown(name));
                return Err((reason, MEND));
            }
        }
        Ok(Step::More)
    }

    fn wants(&self, kind: Kind) -> bool {
        self.keep == Keep::All || kind == Kind::Relation
    }
}

/// A name from the file, for a message.
fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 40;
    String::from_utf8_lossy(name)
        .chars()
        .take(LONGEST)
        .collect()
}

/// The values of attributes, in the order of the names.
fn attributes<const N: usize>(
    tag: &BytesStart<'_>,
    names: [&str; N],
) -> Result<[Option<String>; N], Fault> {
    let mut values = [const { None }; N];
    let mut all = tag.attributes();
    // The check for a name that stands twice compares each with all before it.
    all.with_checks(false);
    for attribute in all {
        let attribute = attribute.map_err(|error| (format!("an attribute: {error}"), MEND))?;
        let name = attribute.key.as_ref();
        if let Some(place) = names.iter().position(|known| known.as_bytes() == name) {
            let value = attribute
                .decode_and_unescape_value(tag.decoder())
                .map_err(|error| (format!("attribute `{}`: {error}", shown(name)), MEND))?;
            values[place] = Some(value.into_owned());
        }
    }
    Ok(values)
}

fn number(value: Option<&str>, name: &str, of: &BytesStart<'_>) -> Result<i64, Fault> {
    let of = shown(of.name().as_ref());
    let value = value.ok_or_else(|| (format!("<{of}> has no `{name}`"), MEND))?;
    value.trim().parse().map_err(|error| {
        let reason = format!("`{name}` of <{of}> is `{value}`, which is no id: {error}");
        (reason, MEND)
    })
}

fn object(kind: Kind, tag: &BytesStart<'_>, line: u64) -> Result<Element, Fault> {
    let names = ["id", "lon", "lat", "visible", "action"];
    let [id, lon, lat, visible, action] = attributes(tag, names)?;
    let id = number(id.as_deref(), "id", tag)?;
    if visible.as_deref() == Some("false") || action.as_deref() == Some("delete") {
        let reason = format!(
            "{} {id} is deleted, and only one state is read",
            kind.word()
        );
        let help = "make an extract of one moment, for example with `osmium time-filter`";
        return Err((reason, help));
    }
    let body = match kind {
        Kind::Node => {
            let degrees = |value: Option<String>| value?.trim().parse::<f64>().ok();
            let at = degrees(lon).zip(degrees(lat));
            Body::Node(at.and_then(|(lon, lat)| At::from_degrees(lon, lat)))
        }
        Kind::Way => Body::Way(Vec::new()),
        Kind::Relation => Body::Relation(Vec::new()),
    };
    Ok(Element {
        id,
        tags: Vec::new(),
        body,
        line: Some(line),
    })
}

/// Takes a child of an object into it.
fn child(element: &mut Element, tag: &BytesStart<'_>) -> Result<(), Fault> {
    let name = tag.name();
    let full = match &element.body {
        Body::Node(_) => false,
        Body::Way(nodes) => nodes.len() >= MAX_MEMBERS,
        Body::Relation(members) => members.len() >= MAX_MEMBERS,
    };
    if full || element.tags.len() >= MAX_TAGS {
        let of = format!("{} {}", element.kind().word(), element.id);
        let reason = format!(
            "{of} has more than MAX_MEMBERS = {MAX_MEMBERS} members or MAX_TAGS = {MAX_TAGS} tags"
        );
        return Err((reason, "split it"));
    }
    match (name.as_ref(), &mut element.body) {
        (b"tag", _) => {
            let [key, value] = attributes(tag, ["k", "v"])?;
            let (Some(key), Some(value)) = (key, value) else {
                return Err(("a <tag> lacks `k` or `v`".to_owned(), MEND));
            };
            element.tags.push((key.into(), value.into()));
        }
        (b"nd", Body::Way(nodes)) => {
            let [node] = attributes(tag, ["ref"])?;
            nodes.push(number(node.as_deref(), "ref", tag)?);
        }
        (b"member", Body::Relation(members)) => {
            let [kind, id, role] = attributes(tag, ["type", "ref", "role"])?;
            let kind = match kind.as_deref() {
                Some("node") => Kind::Node,
                Some("way") => Kind::Way,
                Some("relation") => Kind::Relation,
                other => {
                    let reason = format!("a member is a `{}`", other.unwrap_or_default());
                    return Err((reason, "members are nodes, ways and relations"));
                }
            };
            members.push(Member {
                kind,
                id: number(id.as_deref(), "ref", tag)?,
                inner: role.as_deref() == Some(INNER),
            });
        }
        _ => {}
    }
    Ok(())
}
