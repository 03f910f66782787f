//! "Did you mean": the known name that is nearest to a misspelt one.

/// The candidate nearest to `name`, if one is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = match name.len() {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    candidates
        .filter(|candidate| *candidate != name && candidate.len().abs_diff(name.len()) <= most)
        .filter_map(|candidate| {
            let distance = distance(name.as_bytes(), candidate.as_bytes(), most)?;
            Some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// The number of changed, added, missing or swapped letters, none if above `most`. Case does not count.
fn distance(a: &[u8], b: &[u8], most: usize) -> Option<usize> {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            let same = x.eq_ignore_ascii_case(y);
            row[j + 1] = (last[j] + usize::from(!same))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            let swapped = i > 0
                && j > 0
                && x.eq_ignore_ascii_case(&b[j - 1])
                && a[i - 1].eq_ignore_ascii_case(y);
            if swapped {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["str_lower", "str_upper", "array_map", "length", "echo"];
        let find = |name| nearest(name, names.into_iter());
        assert_eq!(find("str_lowr"), Some("str_lower"));
        assert_eq!(find("lenght"), Some("length"));
        assert_eq!(find("Array_Map"), Some("array_map"));
        assert_eq!(find("foo"), None);
        assert_eq!(find("x"), None);
    }
}
