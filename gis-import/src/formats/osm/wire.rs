//! Protocol buffers' wire format, as far as OSM PBF needs it.
//!
//! # Invariants
//! - Nothing is read outside the bytes given, and nothing is allocated by what they claim.
//! - What cannot be is an error, never a value that looks right.

/// What is wrong with the bytes.
pub(super) type Damage = String;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, which no field of OSM PBF has.
    Fixed,
}

impl<'a> Wire<'a> {
    pub(super) fn varint(self, field: &str) -> Result<u64, Damage> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(format!("`{field}` is no number")),
        }
    }

    pub(super) fn bytes(self, field: &str) -> Result<&'a [u8], Damage> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(format!("`{field}` is no string of bytes")),
        }
    }
}

/// The fields of a message, in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The number and value of the next field; `None` at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u64, Wire<'a>)>, Damage> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = varint(&mut self.0)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut self.0)?),
            2 => {
                let length = varint(&mut self.0)?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| {
                    format!("a field of {length} bytes ends after {}", self.0.len())
                })?;
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            kind @ (1 | 5) => {
                let length = if kind == 1 { 8 } else { 4 };
                let (_, rest) = self
                    .0
                    .split_at_checked(length)
                    .ok_or_else(|| "a field of fixed length is cut".to_owned())?;
                self.0 = rest;
                Wire::Fixed
            }
            other => return Err(format!("a field has the unknown wire type {other}")),
        };
        Ok(Some((tag >> 3, wire)))
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Damage> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else {
            return Err("a number is cut".to_owned());
        };
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            break;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number has more than 64 bits".to_owned())
}

/// Numbers packed into one field.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    /// Takes a packed field into `self`, which must not have been given before.
    pub(super) fn take(&mut self, wire: Wire<'a>, field: &str) -> Result<(), Damage> {
        let Wire::Bytes(bytes) = wire else {
            return Err(format!("`{field}` is not packed"));
        };
        if !self.0.is_empty() {
            return Err(format!("`{field}` stands twice"));
        }
        self.0 = bytes;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next number; `None` at the end.
    pub(super) fn unsigned(&mut self) -> Result<Option<u64>, Damage> {
        if self.0.is_empty() {
            return Ok(None);
        }
        varint(&mut self.0).map(Some)
    }
}

/// Numbers packed as differences, each from the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deltas<'a> {
    pub(super) packed: Packed<'a>,
    last: i64,
}

impl Deltas<'_> {
    /// The next number; `None` at the end.
    pub(super) fn number(&mut self) -> Result<Option<i64>, Damage> {
        let Some(delta) = self.packed.unsigned()? else {
            return Ok(None);
        };
        let next = self.last.checked_add(signed(delta));
        self.last = next.ok_or_else(|| "a difference leads out of 64 bits".to_owned())?;
        Ok(Some(self.last))
    }
}

/// The signed number that alternates between both signs (zigzag).
pub(super) fn signed(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_to_their_end_and_no_further() {
        let mut bytes: &[u8] = &[0x96, 0x01, 0x7f];
        assert_eq!(varint(&mut bytes), Ok(150));
        assert_eq!(varint(&mut bytes), Ok(127));
        assert!(varint(&mut bytes).is_err());
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(varint(&mut &most[..]), Ok(u64::MAX));
        let more = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert!(varint(&mut &more[..]).is_err());
        assert!(varint(&mut &[0x80; 20][..]).is_err());
        for (zigzag, value) in [
            (0, 0),
            (1, -1),
            (2, 1),
            (u64::MAX, i64::MIN),
            (u64::MAX - 1, i64::MAX),
        ] {
            assert_eq!(signed(zigzag), value);
        }
    }

    #[test]
    fn a_field_that_claims_more_than_there_is_is_an_error() {
        let claims = [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2];
        assert!(
            Fields(&claims)
                .field()
                .unwrap_err()
                .contains("ends after 2")
        );
        assert!(Fields(&[0x0b]).field().unwrap_err().contains("wire type 3"));
        assert!(Fields(&[0x0d, 1, 2]).field().is_err());
        let mut fields = Fields(&[0x08, 0x05, 0x12, 0x01, 0x07]);
        assert_eq!(fields.field(), Ok(Some((1, Wire::Varint(5)))));
        assert_eq!(fields.field(), Ok(Some((2, Wire::Bytes(&[7])))));
        assert_eq!(fields.field(), Ok(None));
    }

    #[test]
    fn a_difference_out_of_range_is_an_error() {
        let mut deltas = Deltas::default();
        let bytes = [
            0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x02,
        ];
        deltas.packed.take(Wire::Bytes(&bytes), "id").unwrap();
        assert_eq!(deltas.number(), Ok(Some(i64::MAX)));
        assert!(deltas.number().is_err());
        assert!(deltas.packed.take(Wire::Varint(1), "id").is_err());
    }
}
