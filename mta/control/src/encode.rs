//! Writes the bytes of a message straight from borrowed data (the wire format of protobuf), so that a
//! list of a million items needs one buffer and no value of its own for any of them.

/// A buffer that fields are appended to.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

impl Writer {
    /// The bytes so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    fn key(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field) << 3 | u64::from(kind));
    }

    /// A text; the empty one is left out.
    pub fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A text, the empty one too: an entry of a list, or of a map.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A whole number; zero is left out.
    pub fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.present(field, value);
        }
    }

    /// A whole number or enum that was chosen, zero too.
    pub fn present(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    /// True; false is left out.
    pub fn boolean(&mut self, field: u32, value: bool) {
        self.number(field, u64::from(value));
    }

    /// A double; zero is left out.
    pub fn double(&mut self, field: u32, value: f64) {
        if value != 0.0 {
            self.key(field, FIXED64);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A message inside.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer)) {
        self.key(field, BYTES);
        // Most messages are short: one byte for the length is kept free.
        let start = self.0.len();
        self.0.push(0);
        write(self);
        let length = self.0.len() - start - 1;
        if let (Ok(short @ 0..128), Some(byte)) = (u8::try_from(length), self.0.get_mut(start)) {
            *byte = short;
            return;
        }
        let mut head = Writer::default();
        head.varint(length as u64);
        self.0.splice(start..=start, head.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Address, DoubleValue, HslCacheResponse, hsl_cache_response::Item};
    use proptest::prelude::*;
    use prost::Message as _;

    proptest! {
        #[test]
        fn what_is_written_is_what_the_library_reads(
            texts in prop::collection::vec(".{0,200}", 1..4), number in any::<u64>(), double in any::<f64>(),
        ) {
            let mut writer = Writer::default();
            for text in &texts {
                writer.message(1, |item| {
                    item.text(1, text);
                    item.text(2, "f");
                    item.number(3, number);
                });
            }
            let read = HslCacheResponse::decode(writer.as_bytes()).unwrap();
            let want = texts.iter().map(|text| Item {
                namespace: text.clone(), function: "f".into(), maxsize: number, ..Item::default()
            });
            let want = HslCacheResponse { items: want.collect() };
            prop_assert_eq!(&read, &want);
            prop_assert_eq!(writer.into_bytes(), want.encode_to_vec());
            let mut writer = Writer::default();
            writer.double(1, double);
            let want = DoubleValue { value: double };
            prop_assert_eq!(writer.into_bytes(), want.encode_to_vec());
        }
    }

    #[test]
    fn zero_and_nothing_are_left_out() {
        let mut writer = Writer::default();
        writer.text(1, "");
        writer.number(2, 0);
        writer.boolean(3, false);
        writer.double(4, 0.0);
        assert_eq!(writer.as_bytes(), b"");
        writer.message(1, |address| address.text(2, "d"));
        writer.bytes(7, b"");
        assert_eq!(writer.as_bytes(), b"\x0a\x03\x12\x01d\x3a\0");
        let address = Address::decode(&b"\x12\x01d"[..]).unwrap();
        assert_eq!(address.domain, "d");
    }
}
