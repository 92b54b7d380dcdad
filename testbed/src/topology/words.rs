//! Magic words, splitting of commands, nearest key.

use std::path::PathBuf;

/// The words that stand for names of the lab.
pub struct Magic<'a> {
    /// Lab name.
    pub lab: &'a str,
    /// The lab's folder.
    pub directory: PathBuf,
}

impl Magic<'_> {
    /// Replaces `__clabNodeName__`, `__clabLabName__`, `__clabNodeDir__`, `__clabDir__`.
    pub fn replace(&self, text: &str, node: &str) -> String {
        text.replace("__clabNodeName__", node)
            .replace("__clabLabName__", &format!("clab-{}", self.lab))
            .replace("__clabNodeDir__", &self.directory.join("nodes").join(node).display().to_string())
            .replace("__clabDir__", &self.directory.display().to_string())
    }
}

/// Splits a command into words as containerlab does: quotes and backslashes are obeyed, nothing else of a shell is, so
/// `>` and `&&` are words like others. A word that starts with `#` ends the command.
pub fn split(command: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(format!("a quote {c} is not closed in {command:?}")),
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => match chars.next() {
                            Some(escaped @ ('"' | '\\')) => word.push(escaped),
                            Some(other) => word.extend(['\\', other]),
                            None => return Err(format!("a backslash ends {command:?}")),
                        },
                        Some(inside) => word.push(inside),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err(format!("a backslash ends {command:?}")),
            },
            '#' if word.is_none() => break,
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() { Err("an empty command".to_string()) } else { Ok(words) }
}

/// The candidate that is at most two edits away, if one is.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.map(|c| (distance(word, c), c)).filter(|(d, _)| *d <= 2).min().map(|(_, c)| c)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_without_a_shell() {
        for (command, expected) in [
            ("ip addr add 10.0.0.1/24 dev eth1", vec!["ip", "addr", "add", "10.0.0.1/24", "dev", "eth1"]),
            (r#"sh -c 'a "b" > c && d' "#, vec!["sh", "-c", r#"a "b" > c && d"#]),
            (r#"a\ b "c \" \n" '' x'y'z"#, vec!["a b", "c \" \\n", "", "xyz"]),
            ("echo a#b # rest", vec!["echo", "a#b"]),
            ("a > b", vec!["a", ">", "b"]),
        ] {
            assert_eq!(split(command).unwrap(), expected, "{command}");
        }
        assert!(split("sh -c 'open").unwrap_err().contains("quote ' is not closed"));
        assert!(split("  ").is_err());
        assert!(split("a\\").is_err());
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_key() {
        assert_eq!(nearest("bind", ["binds", "image"].into_iter()), Some("binds"));
        assert_eq!(nearest("xyz", ["binds", "image"].into_iter()), None);
    }
}
