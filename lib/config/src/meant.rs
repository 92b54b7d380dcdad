//! What a misspelt word was meant to be.

/// The candidate nearest to `word`, if it is near enough to be a slip of the finger.
pub(crate) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (word.chars().count() / 3).clamp(1, 3);
    let flat = |text: &str| -> Vec<char> { text.to_lowercase().chars().filter(|c| !matches!(c, '_' | '-')).collect() };
    let given = flat(word);
    candidates
        .map(|candidate| (distance(&given, &flat(candidate)), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `said`, with the question at its end.
pub(crate) fn with(said: String, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("{said}; did you mean `{meant}`?"),
        None => said,
    }
}

/// Edits between two words: insertion, deletion, substitution, or exchange of two neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let keys = ["localAsn", "routerId", "port", "mesh", "holdTime"];
        for (given, meant) in [
            ("localASN", Some("localAsn")),
            ("local_asn", Some("localAsn")),
            ("localAns", Some("localAsn")),
            ("prot", Some("port")),
            ("hold-time", Some("holdTime")),
            ("meshes", Some("mesh")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(closest(given, keys.into_iter()), meant, "{given}");
        }
    }
}
