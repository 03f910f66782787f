//! Finds the word that somebody probably meant: misspelt ones, and those of other languages.

/// The word of `known` that differs from `text` by one typing mistake (two in long words), if there is one.
fn similar<'a>(text: &[u8], known: &[&'a str]) -> Option<&'a str> {
    let allowed = match text.len() {
        // Short words resemble each other too easily, but for swapped letters.
        0..=3 => {
            return known
                .iter()
                .find(|word| is_anagram(text, word.as_bytes()))
                .copied();
        }
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

fn is_anagram(a: &[u8], b: &[u8]) -> bool {
    let sorted = |text: &[u8]| {
        let mut text = text.to_ascii_lowercase();
        text.sort_unstable();
        text
    };
    a != b && a.len() == b.len() && sorted(a) == sorted(b)
}

/// Whether `word` is `for` with swapped letters: the `;` in its parentheses are as they should be.
pub(crate) fn resembles_for(word: &[u8]) -> bool {
    is_anagram(word, b"for")
}

/// Words that start a statement or a part of one.
const STATEMENT_WORDS: &[&str] = &[
    "echo",
    "return",
    "if",
    "else",
    "while",
    "for",
    "foreach",
    "forever",
    "switch",
    "case",
    "default",
    "break",
    "continue",
    "throw",
    "try",
    "catch",
    "global",
    "yield",
    "include",
    "include_once",
    "import",
    "class",
    "function",
    "barrier",
];

/// Words that stand inside a statement.
const EXPRESSION_WORDS: &[&str] = &[
    "function",
    "closure",
    "match",
    "cache",
    "builtin",
    "isset",
    "unset",
    "array",
    "none",
    "true",
    "false",
    "and",
    "or",
    "not",
    "as",
    "from",
    "with",
    "static",
    "private",
    "readonly",
    "constructor",
];

/// What to write for a word at the start of a statement that is not a call.
pub(crate) fn instead_of_statement_word(word: &[u8]) -> Option<String> {
    foreign_word(word)
        .map(str::to_owned)
        .or_else(|| did_you_mean(similar(word, STATEMENT_WORDS)))
}

/// What to write for a word inside a statement.
pub(crate) fn instead_of_word(word: &[u8]) -> Option<String> {
    let known = similar(word, EXPRESSION_WORDS).or_else(|| similar(word, STATEMENT_WORDS));
    foreign_word(word)
        .map(str::to_owned)
        .or_else(|| did_you_mean(known))
}

/// Whether `word` is most probably a misspelt word that has parentheses and braces behind it.
pub(crate) fn instead_of_function(word: &[u8]) -> Option<&'static str> {
    similar(word, &["function", "closure", "match"])
}

fn did_you_mean(word: Option<&str>) -> Option<String> {
    word.map(|word| format!("did you mean `{word}`?"))
}

/// What to write for a word of another language.
fn foreign_word(word: &[u8]) -> Option<&'static str> {
    Some(match word {
        b"elseif" | b"elsif" | b"elif" => "write `else if`",
        b"new" => "objects are made by calling their class: `Name(…)`",
        b"var" | b"let" | b"const" => "variables need no declaration: `$name = value;`",
        b"def" | b"func" | b"fn" | b"fun" | b"sub" => {
            "functions are written `function name($x) { … }`"
        }
        b"print" | b"printf" | b"puts" => "write `echo value;`",
        b"do" => "there is no `do`; write `forever { … if (…) break; }`",
        b"loop" => "write `forever { … }`",
        b"until" | b"unless" => "write `while (!…)` or `if (!…)`",
        b"finally" => "there is no `finally`; put the code behind the `catch` block",
        b"null" | b"nil" | b"undefined" | b"NULL" | b"None" => "the word for no value is `none`",
        b"True" | b"TRUE" => "write `true`",
        b"False" | b"FALSE" => "write `false`",
        b"this" | b"self" => "the object is `$this`; static members are reached with `static::`",
        b"extends" | b"implements" => "classes have no inheritance",
        b"public" | b"protected" => "members are public unless they are `private`",
        b"abstract" | b"final" | b"interface" | b"trait" => "there are only plain classes",
        b"use" => "variables are captured with `function (…) closure ($a) { … }`",
        b"instanceof" | b"typeof" => "types are tested with is_string(), is_array(), is_object() …",
        b"in" | b"of" => "write `foreach ($list as $value)`",
        b"goto" => "there is no `goto`",
        b"await" | b"async" => "every call waits by itself; leave the word out",
        b"require" | b"require_once" => "write `include` or `import`",
        _ => return None,
    })
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
        assert_eq!(similar(b"fi", &known), Some("if"));
        assert_eq!(similar(b"xy", &known), None);
        assert_eq!(similar(b"in", &known), None);
        assert_eq!(similar(b"length", &known), None);
        assert_eq!(similar(b"elseif", &["else"]), Some("else"));
    }
}
