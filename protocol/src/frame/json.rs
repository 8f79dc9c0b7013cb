//! The JSON header.
//!
//! ```json
//! {"code":0,"extFields":{"k":"v"},"flag":1,"language":"JAVA","opaque":7,"remark":"…","serializeTypeCurrentRPC":"JSON","version":513}
//! ```
//!
//! This runs for every request, so it is a scanner over the text that writes field values straight into
//! the [`ExtFields`] buffer instead of a tree of JSON values. It takes all of JSON, and like the JSON
//! library of Apache's servers somewhat more: raw control characters in strings, lone surrogates (read as
//! U+FFFD), numbers given as text, numbers and bools for text; a field that is `null` is as good as absent.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr2;

use super::{EXT_FIELDS_MAX, ExtFields, Frame, FrameError, Serialization, language};

/// What was expected in a JSON header, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at offset {offset}")]
pub struct JsonError {
    /// What should have been there.
    pub expected: &'static str,
    /// Bytes from the start of the header.
    pub offset: usize,
}

/// Reads a header; the frame it gives has no body yet.
pub(super) fn decode(header: &[u8]) -> Result<Frame, FrameError> {
    let text =
        std::str::from_utf8(header).map_err(|error| FrameError::NotUtf8(error.valid_up_to()))?;
    let mut scanner = Scanner { text, at: 0 };
    let mut frame = Frame {
        code: 0,
        language: language::OTHER,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: None,
        ext: ExtFields::new(),
        body: Bytes::new(),
        serialization: Serialization::Json,
    };
    scanner.skip_space();
    scanner.members(|scanner, key, _| match key {
        "code" => scanner.integer(&mut frame.code),
        "flag" => scanner.integer(&mut frame.flag),
        "opaque" => scanner.integer(&mut frame.opaque),
        "version" => scanner.integer(&mut frame.version),
        "language" => scanner.language(&mut frame.language),
        "remark" => scanner.remark(&mut frame.remark),
        "extFields" => scanner.ext_fields(&mut frame.ext),
        _ => Ok(scanner.value().map(|_| ())?),
    })?;
    scanner.skip_space();
    if scanner.at < text.len() {
        return Err(scanner.error("the end of the header").into());
    }
    Ok(frame)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// One JSON value, as far as we look into it.
enum Value<'a> {
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// A number, `true`, `false`, an object or an array, as it was written.
    Raw(&'a str),
    Null,
}

impl<'a> Scanner<'a> {
    fn error(&self, expected: &'static str) -> JsonError {
        JsonError {
            expected,
            offset: self.at,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The text from `start` to here. Both ends are beside ASCII characters, hence on boundaries.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.error(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// Walks an object; `member` gets each key, with its place if it stands there as it is, with the scanner in front of the
    /// key's value.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &str, Option<usize>) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        self.take(b'{', "`{`")?;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            let place = matches!(key, Cow::Borrowed(_)).then(|| self.at - 1 - key.len());
            self.skip_space();
            self.take(b':', "`:`")?;
            self.skip_space();
            member(self, &key, place)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("`,` or `}`").into()),
            }
        }
    }

    fn integer(&mut self, into: &mut i32) -> Result<(), FrameError> {
        let start = self.at;
        let number = match self.value()? {
            Value::Text(text) => text.parse().ok(),
            Value::Raw(text) => text.parse().ok(),
            Value::Null => Some(0),
        };
        *into = number.ok_or(JsonError {
            expected: "a 32-bit integer",
            offset: start,
        })?;
        Ok(())
    }

    fn language(&mut self, into: &mut u8) -> Result<(), FrameError> {
        *into = match self.value()? {
            Value::Text(name) => language::ordinal(&name),
            Value::Raw(ordinal) => ordinal
                .parse()
                .ok()
                .filter(|it| language::is_known(*it))
                .unwrap_or(language::OTHER),
            Value::Null => language::OTHER,
        };
        Ok(())
    }

    fn remark(&mut self, into: &mut Option<String>) -> Result<(), FrameError> {
        *into = match self.value()? {
            Value::Text(text) => Some(text.into_owned()),
            Value::Raw(text) => Some(text.to_owned()),
            Value::Null => None,
        };
        Ok(())
    }

    fn ext_fields(&mut self, into: &mut ExtFields) -> Result<(), FrameError> {
        if self.peek() != Some(b'{') {
            return match self.value()? {
                Value::Null => Ok(()),
                _ => Err(self.error("an object of extFields").into()),
            };
        }
        let mut ext = ExtFields::within(self.text, 16);
        self.members(|scanner, name, place| {
            let value = match scanner.plain_string() {
                Some(value) => value,
                None => {
                    let start = ext.text_len();
                    if scanner.peek() == Some(b'"') {
                        scanner.at += 1;
                        scanner.string_into(ext.text_mut())?;
                    } else {
                        match scanner.value()? {
                            Value::Text(text) => ext.text_mut().push_str(&text),
                            Value::Raw(text) => ext.text_mut().push_str(text),
                            Value::Null => return Ok(()),
                        }
                    }
                    start..ext.text_len()
                }
            };
            ext.put(name, place, value);
            if ext.len() > EXT_FIELDS_MAX {
                Err(FrameError::TooManyFields)
            } else {
                Ok(())
            }
        })?;
        *into = ext;
        Ok(())
    }

    fn value(&mut self) -> Result<Value<'a>, JsonError> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string().map(Value::Text),
            Some(b'{' | b'[') => self.skip_nested()?,
            Some(b'-' | b'0'..=b'9' | b'a'..=b'z') => self.skip_word(),
            _ => return Err(self.error("a value")),
        }
        match self.since(start) {
            "null" => Ok(Value::Null),
            raw if is_scalar(raw) || raw.starts_with(['{', '[']) => Ok(Value::Raw(raw)),
            _ => Err(JsonError {
                expected: "a value",
                offset: start,
            }),
        }
    }

    fn skip_word(&mut self) {
        while let Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') = self.peek() {
            self.at += 1;
        }
    }

    /// Skips an object or array by counting brackets: nothing of ours nests, so nobody looks inside, and
    /// no depth can exhaust the stack.
    fn skip_nested(&mut self) -> Result<(), JsonError> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
                None => return Err(self.error("`}` or `]`")),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// The place of a string without escapes; if there is none here, nothing is taken.
    fn plain_string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        if self.peek() == Some(b'"') {
            self.at += 1;
            self.plain_run();
            if self.peek() == Some(b'"') {
                self.at += 1;
                return Some(start + 1..self.at - 1);
            }
        }
        self.at = start;
        None
    }

    /// A string; borrowed unless it has escapes.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.take(b'"', "`\"`")?;
        let start = self.at;
        let plain = self.plain_run();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        self.at = start;
        let mut text = String::new();
        self.string_into(&mut text)?;
        Ok(Cow::Owned(text))
    }

    /// The rest of a string behind its opening quote, unescaped.
    fn string_into(&mut self, text: &mut String) -> Result<(), JsonError> {
        loop {
            text.push_str(self.plain_run());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                None => return Err(self.error("`\"`")),
            }
        }
    }

    /// Moves to the next quote, backslash or end, and gives the text before it.
    fn plain_run(&mut self) -> &'a str {
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let len = memchr2(b'"', b'\\', rest);
        self.at += len.unwrap_or(rest.len());
        self.since(start)
    }

    /// One escape sequence behind its backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let character = match self.peek() {
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err(self.error("an escape sequence")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let unit = self.hex4()?;
        if !(0xD800..0xDC00).contains(&unit) {
            return Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let behind_high = self.at;
        if self.text.as_bytes().get(behind_high..behind_high + 2) == Some(b"\\u") {
            self.at += 2;
            let low = self.hex4()?;
            if (0xDC00..0xE000).contains(&low) {
                let scalar = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            // Not a pair: the second escape stands for itself.
            self.at = behind_high;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self
            .text
            .as_bytes()
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<4>());
        let value = |digit: u8| char::from(digit).to_digit(16);
        let unit = digits.and_then(|[a, b, c, d]| {
            Some(value(*a)? << 12 | value(*b)? << 8 | value(*c)? << 4 | value(*d)?)
        });
        let unit = unit.ok_or_else(|| self.error("four hex digits"))?;
        self.at += 4;
        Ok(unit)
    }
}

fn is_scalar(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = || {
        digits.starts_with(|first: char| first.is_ascii_digit()) && digits.parse::<f64>().is_ok()
    };
    is_integer || word == "true" || word == "false" || is_number()
}

/// Appends the header.
pub(super) fn encode(frame: &Frame, dst: &mut BytesMut) {
    dst.put_slice(b"{\"code\":");
    put_integer(dst, frame.code);
    if !frame.ext.is_empty() {
        dst.put_slice(b",\"extFields\":{");
        for (index, (name, value)) in frame.ext.iter().enumerate() {
            if index > 0 {
                dst.put_u8(b',');
            }
            put_string(dst, name);
            dst.put_u8(b':');
            put_string(dst, value);
        }
        dst.put_u8(b'}');
    }
    dst.put_slice(b",\"flag\":");
    put_integer(dst, frame.flag);
    dst.put_slice(b",\"language\":");
    put_string(dst, language::name(frame.language));
    dst.put_slice(b",\"opaque\":");
    put_integer(dst, frame.opaque);
    if let Some(remark) = &frame.remark {
        dst.put_slice(b",\"remark\":");
        put_string(dst, remark);
    }
    dst.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_integer(dst, frame.version);
    dst.put_u8(b'}');
}

fn put_integer(dst: &mut BytesMut, integer: i32) {
    dst.put_slice(itoa::Buffer::new().format(integer).as_bytes());
}

/// Whether a JSON string cannot hold a byte as it is.
fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn put_string(dst: &mut BytesMut, text: &str) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    dst.put_u8(b'"');
    let mut rest = text.as_bytes();
    // Without an early exit many bytes are looked at at a time; hardly any text has one to find.
    let has_escaped = rest.iter().fold(false, |has, byte| has | is_escaped(*byte));
    while has_escaped && let Some(at) = rest.iter().position(|byte| is_escaped(*byte)) {
        let (plain, special) = rest.split_at(at);
        dst.put_slice(plain);
        match special.first() {
            Some(b'"') => dst.put_slice(b"\\\""),
            Some(b'\\') => dst.put_slice(b"\\\\"),
            Some(control) => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
                dst.put_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    digit(control >> 4),
                    digit(control & 0xF),
                ]);
            }
            None => {}
        }
        rest = special.get(1..).unwrap_or_default();
    }
    dst.put_slice(rest);
    dst.put_u8(b'"');
}
