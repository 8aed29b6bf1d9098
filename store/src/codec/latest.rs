//! Pages of newest readings.

use ontology::Ontology;
use twin_core::history::{KeptLatest, LatestPage};
use twin_core::{Recorded, TwinId};

use super::bytes::{NameReader, NameWriter, Reader, Writer};
use super::{CodecError, value};

/// First byte of a page.
const FORMAT: u8 = 0x35;

/// Packs a page.
pub fn encode_latest(page: &LatestPage, ontology: &Ontology) -> Vec<u8> {
    let class = ontology.class(page.class);
    let mut to = Writer::default();
    let mut names = NameWriter::default();
    to.byte(FORMAT);
    to.text(&class.name);
    to.unsigned(page.readings.len() as u64);
    for kept in &page.readings {
        let reading = &kept.reading;
        names.write(reading.twin.as_str(), &mut to);
        names.write(&class.telemetry[reading.telemetry as usize].name, &mut to);
        to.signed(reading.ts);
        to.signed(kept.arrived.wrapping_sub(reading.ts));
        to.unsigned(kept.offset);
        value::write(&reading.value, &mut to);
    }
    to.seal()
}

/// Unpacks a page against today's ontology; how many of its readings that no longer explains.
pub fn decode_latest(
    bytes: &[u8],
    ontology: &Ontology,
) -> Result<(Vec<KeptLatest>, u64), CodecError> {
    let mut from = Reader::open(bytes)?;
    let mut names = NameReader::default();
    let found = from.byte()?;
    if found != FORMAT {
        return Err(CodecError::Format {
            found,
            known: FORMAT,
        });
    }
    let class = ontology.class_named(from.text()?);
    let mut latest = Vec::new();
    let mut foreign = 0;
    for _ in 0..from.count()? {
        let (twin, telemetry) = (names.read(&mut from)?, names.read(&mut from)?);
        let ts = from.signed()?;
        let arrived = ts.wrapping_add(from.signed()?);
        let offset = from.unsigned()?;
        let value = value::read(&mut from)?;
        let Ok(twin) = TwinId::new(&twin) else {
            return Err(from.wrong("a text that is no twin id"));
        };
        let known = class.and_then(|class| Some((class.id, class.telemetry_index(&telemetry)?)));
        let Some((class, telemetry)) = known else {
            foreign += 1;
            continue;
        };
        latest.push(KeptLatest {
            reading: Recorded {
                twin,
                class,
                telemetry: telemetry as u32,
                ts,
                value,
            },
            arrived,
            offset,
        });
    }
    from.finish()?;
    Ok((latest, foreign))
}
