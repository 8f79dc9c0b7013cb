//! Java's library writes the keys of a map from whole numbers without quotes, which is no JSON.

/// Puts quotes around such keys: whole numbers that a colon follows, outside of strings. What was JSON stays as it is.
pub(super) fn quoted(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len().saturating_add(16));
    let mut rest = body;
    while let Some(&first) = rest.first() {
        let length = match first {
            b'"' => string(rest),
            b'-' | b'0'..=b'9' => number(rest),
            _ => 1,
        };
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        if is_key(first, after) {
            out.push(b'"');
            out.extend_from_slice(token);
            out.push(b'"');
        } else {
            out.extend_from_slice(token);
        }
        rest = after;
    }
    out
}

/// Whether a token that begins like this, with that after it, is a key without quotes.
fn is_key(first: u8, after: &[u8]) -> bool {
    let next = after.iter().find(|byte| !byte.is_ascii_whitespace());
    (first == b'-' || first.is_ascii_digit()) && next == Some(&b':')
}

/// The length of the string that stands here, quotes included; what is left if it does not end.
fn string(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().skip(1).position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end.saturating_add(2))
}

/// The length of the whole number that stands here.
fn number(text: &[u8]) -> usize {
    let digits = text.iter().skip(1).take_while(|byte| byte.is_ascii_digit());
    digits.count().saturating_add(1)
}
