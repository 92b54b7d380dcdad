//! Environment variables in the text, before anything is parsed.

/// Replaces `$v`, `${v}`, `${v-d}`, `${v:-d}`, `${v=d}`, `${v:=d}`, `${v+o}`, `${v:+o}`; `$$` is a plain `$`. With a colon
/// an empty variable counts as unset. An unset `$v` or `${v}` without a default stays as it is written.
pub fn substitute(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (replacement, used) = replace(after, variable);
        match replacement {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[at..at + 1 + used]),
        }
        rest = &after[used..];
    }
    out.push_str(rest);
    out
}

/// What stands for the text after a `$`, and how many of its octets that takes; no replacement leaves them.
fn replace(after: &str, variable: &dyn Fn(&str) -> Option<String>) -> (Option<String>, usize) {
    if after.starts_with('$') {
        return (Some("$".to_string()), 1);
    }
    if let Some(inner) = after.strip_prefix('{') {
        let Some(end) = inner.find('}') else { return (None, 0) };
        return (braced(&inner[..end], variable), end + 2);
    }
    let name = name_of(after);
    if name.is_empty() { (None, 0) } else { (variable(name), name.len()) }
}

fn braced(inner: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let name = name_of(inner);
    if name.is_empty() {
        return None;
    }
    let operation = &inner[name.len()..];
    let (colon, operation) = operation.strip_prefix(':').map_or((false, operation), |rest| (true, rest));
    let value = variable(name).filter(|v| !colon || !v.is_empty());
    let mut chars = operation.chars();
    let operator = chars.next();
    let word = chars.as_str();
    match operator {
        None if !colon => value,
        Some('-' | '=') => Some(value.unwrap_or_else(|| substitute(word, variable))),
        Some('+') => Some(value.map(|_| substitute(word, variable)).unwrap_or_default()),
        _ => None,
    }
}

fn name_of(text: &str) -> &str {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    if starts { &text[..end] } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let variable = |name: &str| match name {
            "set" => Some("value".to_string()),
            "empty" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("$set ${set}", "value value"),
            ("$gone ${gone}", "$gone ${gone}"),
            ("${gone-d} ${gone:-d} ${gone=d} ${gone:=d}", "d d d d"),
            ("${empty-d}|${empty:-d}|${empty=d}|${empty:=d}", "|d||d"),
            ("${set-d}${set:=d}", "valuevalue"),
            ("${set+o}|${gone+o}|${empty+o}|${empty:+o}", "o||o|"),
            ("$$set $$gone ${gone:-$set}", "$set $gone value"),
            ("1$ $1 $ ${} ${open", "1$ $1 $ ${} ${open"),
            ("${set?x} a$set.b", "${set?x} avalue.b"),
        ] {
            assert_eq!(substitute(text, &variable), expected, "{text}");
        }
    }
}
