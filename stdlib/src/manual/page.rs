//! The pages of the manual in Markdown.

use std::collections::HashMap;

use super::article::{Article, Fact, declared, of_entry};
use super::{Entry, Family, ManualError, Needs, read};

/// Said at the top of each page.
const MADE: &str =
    "<!-- Made by `cargo run -p angarium-stdlib --example manual`; the texts stand in stdlib. -->";

/// What the index says before the list of pages.
const INDEX: &str = include_str!("../../docs/index.md");

/// The pages that are written by others.
const OTHERS: &str = "* [Commands](commands.md): every command and option.\n\
                      * [Configuration](configuration.md): every key of the configuration files.\n";

/// All pages: name of the file and its text.
///
/// # Errors
/// The place in a file that cannot be read.
pub fn pages() -> Result<Vec<(String, String)>, ManualError> {
    let articles: HashMap<String, Article> = declared()
        .map(|article| (article.name(), article))
        .collect();
    let families = read()?;
    let mut index = format!("{MADE}\n\n{}\n", INDEX.trim_end());
    let mut pages = Vec::new();
    for family in &families {
        let names: Vec<String> = family
            .entries
            .iter()
            .map(|entry| link(family.name, entry.name))
            .collect();
        index.push_str(&format!(
            "\n## [{}]({}.md)\n\n{}\n",
            family.title,
            family.name,
            names.join(", ")
        ));
        pages.push((format!("{}.md", family.name), page(family, &articles)));
    }
    index.push_str("\n## Commands and configuration\n\n");
    index.push_str(OTHERS);
    pages.push(("README.md".to_owned(), index));
    Ok(pages)
}

/// A name that leads to its place on a page.
fn link(page: &str, name: &str) -> String {
    format!("[{name}]({page}.md#{})", anchor(name))
}

/// The anchor that renderers of Markdown give to a heading: letters, digits, `_` and `-`, in lower case.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    kept.flat_map(char::to_lowercase).collect()
}

fn page(family: &Family, articles: &HashMap<String, Article>) -> String {
    let mut out = format!("{MADE}\n\n# {}\n\n", family.title);
    if !family.text.is_empty() {
        out.push_str(&format!("{}\n\n", family.text));
    }
    for entry in &family.entries {
        let text = match articles.get(entry.name) {
            Some(article) => article.function.doc,
            None => entry.text,
        };
        out.push_str(&format!(
            "* [{}](#{}): {}\n",
            entry.name,
            anchor(entry.name),
            first_sentence(text)
        ));
    }
    for entry in &family.entries {
        out.push_str(&format!("\n## {}\n", entry.name));
        match articles.get(entry.name) {
            Some(article) => described(&mut out, article),
            // A module has no declaration.
            None => {
                out.push_str(&format!("\n{}\n", entry.text));
                facts(&mut out, of_entry(entry));
            }
        }
        scripts(&mut out, entry);
    }
    out
}

/// The text up to its first full stop.
fn first_sentence(text: &str) -> &str {
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    text.get(..end).unwrap_or(text)
}

fn described(out: &mut String, article: &Article) {
    out.push_str(&format!(
        "\n```hsl\n{}\n```\n\n{}",
        article.head(),
        article.function.doc
    ));
    let notes = article.notes();
    if !notes.is_empty() {
        out.push_str(&format!(" *({})*", notes.join(", ")));
    }
    out.push('\n');
    if let Some(entry) = article.entry.filter(|entry| !entry.text.is_empty()) {
        out.push_str(&format!("\n{}\n", entry.text));
    }
    facts(out, article.facts());
    if !article.function.example.is_empty() {
        out.push_str(&format!("\n```hsl\n{}\n```\n", article.function.example));
    }
}

fn facts(out: &mut String, facts: Vec<Fact>) {
    let mut in_list = false;
    for fact in facts {
        let item = matches!(fact, Fact::Item { .. });
        // Between a list and other text, and between paragraphs.
        if !(item && in_list) {
            out.push('\n');
        }
        in_list = item;
        out.push_str(&match fact {
            Fact::Said(what, text) => format!("{what}: {text}\n"),
            Fact::Options("options") => "Options:\n".to_owned(),
            Fact::Options(param) => format!("Options in `{param}`:\n"),
            Fact::Item { name, detail, text } if detail.is_empty() => {
                format!("* `{name}`: {text}\n")
            }
            Fact::Item { name, detail, text } => format!("* `{name}` ({detail}): {text}\n"),
        });
    }
}

fn scripts(out: &mut String, entry: &Entry) {
    for example in &entry.examples {
        out.push_str(match example.needs {
            Needs::Nothing => "\n",
            Needs::Eod => "\nIn the hook eod:\n\n",
            Needs::Server => "\nNeeds a server:\n\n",
        });
        out.push_str(&format!("```hsl\n{}```\n", example.script));
        if let Some(output) = example.output {
            out.push_str(&format!("\n```text\n{output}```\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_headings() {
        assert_eq!(anchor("str_find"), "str_find");
        assert_eq!(anchor("File->read"), "file-read");
        assert_eq!(anchor("File::String"), "filestring");
        assert_eq!(anchor("extras://mta-sts"), "extrasmta-sts");
    }

    #[test]
    fn a_list_of_names_has_their_first_sentences() {
        assert_eq!(first_sentence("One. Two."), "One.");
        assert_eq!(first_sentence("One"), "One");
    }
}
