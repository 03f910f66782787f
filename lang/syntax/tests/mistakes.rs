//! Seeded mistakes: a token of a good script is dropped, misspelt or swapped with its neighbour. The first
//! message must point at the line of the mistake.

#![allow(clippy::print_stdout, reason = "the score is worth reading")]

mod common;

use angarium_syntax::lexer::lex;
use angarium_syntax::token::{Token, TokenKind};
use angarium_syntax::{FileId, SourceMap};

struct Score {
    right: usize,
    total: usize,
    wrong: Vec<String>,
}

impl Score {
    fn new() -> Self {
        Self {
            right: 0,
            total: 0,
            wrong: Vec::new(),
        }
    }

    /// Judges a changed script; the change lies between the lines `first` and `last`.
    fn judge(&mut self, what: &str, text: &[u8], first: u32, last: u32, partner: Option<u32>) {
        let (_, errors, sources) = common::parsed(text);
        let Some(error) = errors.first() else {
            // Still a program.
            return;
        };
        self.total += 1;
        let primary = sources.position(error.primary.span).line;
        if (first..=last).contains(&primary) || Some(primary) == partner {
            self.right += 1;
        } else {
            self.wrong
                .push(format!("{what}, line {first}:\n{}", error.render(&sources)));
        }
    }

    fn report(&self, name: &str, least: f64) {
        #[allow(clippy::cast_precision_loss, reason = "small counts")]
        let share = self.right as f64 / self.total.max(1) as f64;
        println!("{name}: {} of {} at the right line", self.right, self.total);
        for wrong in self.wrong.iter().take(40) {
            println!("{wrong}");
        }
        assert!(self.total > 100, "{name}: too few cases");
        assert!(share >= least, "{name}: {} of {}", self.right, self.total);
    }
}

fn each(
    mut change: impl FnMut(&[u8], &[Token], usize) -> Option<(String, Vec<u8>, usize)>,
) -> Score {
    let mut score = Score::new();
    for (name, text) in common::scripts() {
        let mut sources = SourceMap::new();
        let id = sources.add("s", text.as_slice()).expect("small");
        let tokens = lex(&text, FileId(0)).tokens;
        for index in 0..tokens.len() {
            let Some((what, changed, last)) = change(&text, &tokens, index) else {
                continue;
            };
            let line = |at: usize| sources.position(tokens[at].span(id)).line;
            // What is missing at the start of a line may be reported at the end of the line before.
            let previous = index.checked_sub(1).map_or(1, line);
            let (first, last) = (line(index), line(last.min(tokens.len() - 1)));
            let first = if tokens[index].kind.is_opener() || first == previous {
                first
            } else {
                first.min(previous)
            };
            // A bracket whose partner is dropped is as good a place.
            let partner = partner(&tokens, index).map(line);
            score.judge(&format!("{name}: {what}"), &changed, first, last, partner);
        }
    }
    score
}

/// The index of the opener that the closer at `index` belongs to.
fn partner(tokens: &[Token], index: usize) -> Option<usize> {
    if !tokens[index].kind.is_closer() {
        return None;
    }
    let mut depth = 0;
    (0..=index).rev().find(|at| {
        let kind = tokens[*at].kind;
        depth += i32::from(kind.is_closer()) - i32::from(kind.is_opener());
        depth == 0
    })
}

fn without(text: &[u8], token: Token) -> Vec<u8> {
    let mut changed = text[..token.start as usize].to_vec();
    changed.extend_from_slice(&text[token.end as usize..]);
    changed
}

#[test]
fn a_dropped_token_is_reported_at_its_line() {
    let score = each(|text, tokens, index| {
        let token = tokens[index];
        let word = String::from_utf8_lossy(token.text(text)).into_owned();
        Some((format!("dropped `{word}`"), without(text, token), index))
    });
    score.report("dropped", 0.95);
}

#[test]
fn a_misspelt_word_is_reported_at_its_line() {
    let score = each(|text, tokens, index| {
        let token = tokens[index];
        if !token.kind.is_keyword() {
            return None;
        }
        let word = token.text(text);
        let mut changed = text[..token.start as usize].to_vec();
        changed.extend_from_slice(&word[..word.len() - 2]);
        changed.extend([word[word.len() - 1], word[word.len() - 2]]);
        changed.extend_from_slice(&text[token.end as usize..]);
        Some((format!("misspelt `{}`", token.kind.name()), changed, index))
    });
    score.report("misspelt", 0.95);
}

#[test]
fn swapped_tokens_are_reported_at_their_line() {
    let score = each(|text, tokens, index| {
        let (left, right) = (tokens[index], *tokens.get(index + 1)?);
        let mut changed = text[..left.start as usize].to_vec();
        changed.extend_from_slice(right.text(text));
        changed.extend_from_slice(&text[left.end as usize..right.start as usize]);
        changed.extend_from_slice(left.text(text));
        changed.extend_from_slice(&text[right.end as usize..]);
        let words =
            [left, right].map(|token| String::from_utf8_lossy(token.text(text)).into_owned());
        Some((
            format!("swapped `{}` and `{}`", words[0], words[1]),
            changed,
            index + 1,
        ))
    });
    score.report("swapped", 0.95);
}

#[test]
fn a_dropped_quote_is_reported_at_its_line() {
    let score = each(|text, tokens, index| {
        let token = tokens[index];
        let whole = token.text(text);
        if !matches!(token.kind, TokenKind::Str | TokenKind::EscapedStr) || whole.contains(&b'\n') {
            return None;
        }
        let mut changed = text[..token.end as usize - 1].to_vec();
        changed.extend_from_slice(&text[token.end as usize..]);
        Some((
            format!("no end of {}", String::from_utf8_lossy(whole)),
            changed,
            index,
        ))
    });
    score.report("quotes", 0.9);
}

/// The messages about a text, with their lines.
fn messages(text: &[u8]) -> Vec<(u32, String)> {
    let (_, errors, sources) = common::parsed(text);
    errors
        .iter()
        .map(|error| {
            (
                sources.position(error.primary.span).line,
                error.message.clone(),
            )
        })
        .collect()
}

#[test]
fn two_mistakes_give_the_messages_of_both() {
    let (mut kept, mut invented, mut total) = (0, 0, 0);
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap_or(0) % below
    };
    for (name, text) in common::scripts() {
        let tokens = lex(&text, FileId(0)).tokens;
        for _ in 0..150 {
            let (a, b) = (random(tokens.len()), random(tokens.len()));
            let (first, second) = (tokens[a.min(b)], tokens[a.max(b)]);
            let lines = text[first.end as usize..second.start.max(first.end) as usize]
                .iter()
                .filter(|b| **b == b'\n')
                .count();
            if lines < 3 {
                continue;
            }
            let only_second = without(&text, second);
            let both = without(&only_second, first);
            let (both, second, first) = (
                messages(&both),
                messages(&only_second),
                messages(&without(&text, first)),
            );
            if first.is_empty() || second.is_empty() {
                continue;
            }
            total += 1;
            let all_kept = second
                .iter()
                .chain(&first)
                .all(|message| both.contains(message));
            let nothing_new = both
                .iter()
                .all(|message| first.contains(message) || second.contains(message));
            kept += usize::from(all_kept);
            invented += usize::from(!nothing_new);
            if !all_kept || !nothing_new {
                println!("{name}:\n  {first:?}\n  {second:?}\n  {both:?}");
            }
        }
    }
    println!("independent: {kept} of {total} keep all messages, {invented} invent one");
    assert!(total > 100 && kept * 100 >= total * 93 && invented * 100 <= total * 4);
}
