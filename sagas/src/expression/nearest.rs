//! "Did you mean": the nearest of the words that there are.

const LENGTH_MAX: usize = 64;

/// The nearest of the candidates, if it is near enough to be meant. The first of several that are equally near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    // A long word is nobody's slip of the pen, and a distance takes time in the product of the lengths.
    if length > LENGTH_MAX {
        return None;
    }
    let far = (length / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word && candidate.chars().count().abs_diff(length) <= far)
        .map(|candidate| (distance(word, candidate, far + 1), candidate))
        .filter(|(distance, candidate)| *distance <= far && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The mend of a word that is not known: what was probably meant, and what there is.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, there_is: &str) -> String {
    match (nearest(word, candidates), there_is.split_at_checked(1)) {
        (Some(near), Some((first, rest))) => {
            format!("did you mean `{near}`? {}{rest}", first.to_ascii_uppercase())
        }
        _ => there_is.to_owned(),
    }
}

/// How many characters must be put in, left out, replaced or swapped with their neighbour; `far`, or more, if so many.
/// Upper case is lower case. Only what is nearer than `far` to the diagonal is looked at: the rest is not nearer either.
fn distance(left: &str, right: &str, far: usize) -> usize {
    let left: Vec<char> = left.chars().flat_map(char::to_lowercase).collect();
    let right: Vec<char> = right.chars().flat_map(char::to_lowercase).collect();
    let at = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(far);
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut above: Option<char> = None;
    for (i, l) in left.iter().enumerate() {
        let mut next = vec![far; right.len() + 1];
        if let Some(first) = next.first_mut() {
            *first = i + 1;
        }
        let from = i.saturating_sub(far);
        let mut beside = from.checked_sub(1).and_then(|j| right.get(j)).copied();
        for (j, r) in right.iter().enumerate().take(i + far + 1).skip(from) {
            let mut least = at(&row, j) + usize::from(l != r);
            least = least.min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            if j > 0 && above == Some(*r) && beside == Some(*l) {
                least = least.min(at(&before, j - 1) + 1);
            }
            if let Some(place) = next.get_mut(j + 1) {
                *place = least;
            }
            beside = Some(*r);
        }
        // It never gets nearer again. Two rows, since a swap looks two rows back.
        if row.iter().chain(&next).all(|distance| *distance >= far) {
            return far;
        }
        before = std::mem::replace(&mut row, next);
        above = Some(*l);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_another_word_is_not() {
        let words = ["input", "steps", "index", "startsWith", "customer_id"];
        for (word, meant) in [
            ("inptu", Some("input")),
            ("Input", Some("input")),
            ("step", Some("steps")),
            ("startswith", Some("startsWith")),
            ("customerId", Some("customer_id")),
            ("indx", Some("index")),
            ("input", None),
            ("zebra", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), meant, "{word}");
        }
    }

    #[test]
    fn a_distance_is_the_fewest_changes() {
        for (left, right, changes) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3),
            ("ab", "", 2),
            ("a", "A", 0),
        ] {
            assert_eq!(distance(left, right, 64), changes, "{left} {right}");
        }
    }
}
