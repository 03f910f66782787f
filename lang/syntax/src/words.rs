//! Finds the word that somebody probably meant.

/// The word of `known` that differs from `text` by one typing mistake (two in long words), if there is one.
pub(crate) fn similar<'a>(text: &[u8], known: &[&'a str]) -> Option<&'a str> {
    let allowed = match text.len() {
        // Short words resemble each other too easily.
        0..=3 => return None,
        4..=5 => 1,
        _ => 2,
    };
    known
        .iter()
        .map(|word| (distance(text, word.as_bytes(), allowed), *word))
        .filter(|(distance, word)| *distance <= allowed && *distance < word.len() / 2 + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Edit distance with swapped neighbours as one step, ignoring case; more than `limit` is not told apart.
fn distance(a: &[u8], b: &[u8], limit: usize) -> usize {
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    // Three rows are enough for the swap.
    let mut two_back: Vec<usize> = Vec::new();
    let mut back: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        let mut previous_b: Option<&u8> = None;
        for (j, y) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let differs = usize::from(!x.eq_ignore_ascii_case(y));
            let mut best = (at(&back, j) + differs)
                .min(at(&back, j + 1) + 1)
                .min(at(&row, j) + 1);
            if let (Some(px), Some(py)) = (previous_a, previous_b)
                && y.eq_ignore_ascii_case(px)
                && x.eq_ignore_ascii_case(py)
            {
                best = best.min(at(&two_back, j - 1) + 1);
            }
            row.push(best);
            previous_b = Some(y);
        }
        two_back = std::mem::replace(&mut back, row);
        previous_a = Some(x);
    }
    back.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mistake_is_forgiven() {
        let known = ["echo", "function", "foreach", "return", "if"];
        assert_eq!(similar(b"ecoh", &known), Some("echo"));
        assert_eq!(similar(b"functoin", &known), Some("function"));
        assert_eq!(similar(b"Return", &known), Some("return"));
        assert_eq!(similar(b"foreech", &known), Some("foreach"));
        assert_eq!(similar(b"xy", &known), None);
        assert_eq!(similar(b"length", &known), None);
        assert_eq!(similar(b"elseif", &["else"]), Some("else"));
    }
}
