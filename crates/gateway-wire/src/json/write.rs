//! Writes JSON text into a buffer, field by field.

use bytes::{BufMut, BytesMut};
use gateway_core::{Protocol, ir::Extras};

/// Writes a string with its quotes, escaped as JSON demands and no further.
pub fn write_str(out: &mut BytesMut, text: &str) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (n, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.put_slice(&bytes[start..n]);
        start = n + 1;
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.put_slice(b"\\u00");
                out.put_u8(HEX[usize::from(control >> 4)]);
                out.put_u8(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.put_slice(&bytes[start..]);
    out.put_u8(b'"');
}

/// Puts the commas. Every `begin_` needs its `end_`; a value inside an object follows its [`Writer::key`].
///
/// ```
/// use bytes::BytesMut;
/// use gateway_wire::json::Writer;
///
/// let mut out = BytesMut::new();
/// let mut w = Writer::new(&mut out);
/// w.begin_object();
/// w.key("model").str("m");
/// w.key("stop").begin_array();
/// w.str("a");
/// w.str("b");
/// w.end_array();
/// w.end_object();
/// assert_eq!(out, r#"{"model":"m","stop":["a","b"]}"#);
/// ```
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut BytesMut,
    comma: bool,
}

impl<'o> Writer<'o> {
    /// Appends to `out`.
    #[must_use]
    pub fn new(out: &'o mut BytesMut) -> Self {
        Self { out, comma: false }
    }

    /// Opens an object.
    pub fn begin_object(&mut self) {
        self.open(b'{');
    }

    /// Closes an object.
    pub fn end_object(&mut self) {
        self.close(b'}');
    }

    /// Opens an array.
    pub fn begin_array(&mut self) {
        self.open(b'[');
    }

    /// Closes an array.
    pub fn end_array(&mut self) {
        self.close(b']');
    }

    /// Writes a key; its value follows.
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.separate();
        write_str(self.out, key);
        self.out.put_u8(b':');
        self.comma = false;
        self
    }

    /// Writes a string.
    pub fn str(&mut self, text: &str) {
        self.separate();
        write_str(self.out, text);
    }

    /// Writes JSON text as it is. It must be one valid value.
    pub fn raw(&mut self, json: &str) {
        self.separate();
        self.out.put_slice(json.as_bytes());
    }

    /// Writes an integer that is not negative.
    pub fn u64(&mut self, n: u64) {
        self.separate();
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = n;
        loop {
            at -= 1;
            // The remainder of a division by ten fits one digit.
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.put_slice(&digits[at..]);
    }

    /// Writes an integer.
    pub fn i64(&mut self, n: i64) {
        if n < 0 {
            self.separate();
            self.out.put_u8(b'-');
            self.comma = false;
        }
        self.u64(n.unsigned_abs());
    }

    /// Writes a number; JSON has none that is not finite, so such a one becomes null.
    pub fn f64(&mut self, n: f64) {
        match serde_json::Number::from_f64(n) {
            Some(number) => self.raw(&number.to_string()),
            None => self.raw("null"),
        }
    }

    /// Writes a boolean.
    pub fn bool(&mut self, b: bool) {
        self.raw(if b { "true" } else { "false" });
    }

    /// Writes null.
    pub fn null(&mut self) {
        self.raw("null");
    }

    /// Writes `key` and a string, if there is one.
    pub fn opt_str(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.key(key).str(text);
        }
    }

    /// Writes `key` and an integer, if there is one.
    pub fn opt_u64(&mut self, key: &str, n: Option<u64>) {
        if let Some(n) = n {
            self.key(key).u64(n);
        }
    }

    /// Writes `key` and a number, if there is one.
    pub fn opt_f64(&mut self, key: &str, n: Option<f64>) {
        if let Some(n) = n {
            self.key(key).f64(n);
        }
    }

    /// Writes `key` and a boolean, if there is one.
    pub fn opt_bool(&mut self, key: &str, b: Option<bool>) {
        if let Some(b) = b {
            self.key(key).bool(b);
        }
    }

    /// Writes the fields of `extras` into the open object if they are of `origin`; says whether nothing was left out.
    #[must_use = "fields of another protocol were not written: that is a loss to record"]
    pub fn extras(&mut self, extras: Option<&Extras>, origin: Protocol) -> bool {
        let Some(extras) = extras else { return true };
        if extras.origin != origin {
            return false;
        }
        for (key, value) in &extras.fields {
            self.key(key).raw(value.text());
        }
        true
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.put_u8(b',');
        }
        self.comma = true;
    }

    fn open(&mut self, bracket: u8) {
        self.separate();
        self.out.put_u8(bracket);
        self.comma = false;
    }

    fn close(&mut self, bracket: u8) {
        self.out.put_u8(bracket);
        self.comma = true;
    }
}
