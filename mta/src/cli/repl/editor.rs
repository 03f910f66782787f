//! How statements are entered: line editing with history and completion, or plain lines where the terminal does
//! not allow it (`TERM=dumb`).

use std::borrow::Cow;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use angarium_runtime::Session;
use angarium_runtime::library::Library;
use reedline::{
    ColumnarMenu, Completer, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder as _,
    Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    Span, Suggestion, ValidationResult, Validator, default_emacs_keybindings,
};

use crate::cli::failure::Failure;
use crate::cli::table;

const PROMPT: &str = "hsl> ";
const CONTINUATION: &str = "...> ";
/// Statements that the history keeps.
const HISTORY: usize = 10_000;
/// Words of the language that completion offers.
const KEYWORDS: &[&str] = &[
    "and", "barrier", "break", "cache", "case", "catch", "class", "closure", "continue", "default",
    "echo", "else", "false", "for", "foreach", "forever", "function", "global", "if", "import",
    "include", "isset", "none", "not", "or", "return", "switch", "throw", "true", "try", "unset",
    "while", "yield",
];

/// What was entered.
pub(super) enum Entered {
    /// A whole statement or a command.
    Text(String),
    /// Ctrl-C at the prompt.
    Aborted,
    /// Ctrl-D, or the end of the input.
    End,
}

/// Reads statements.
pub(super) enum Reader {
    Editor(Box<Reedline>),
    Plain,
}

impl Reader {
    pub(super) fn new(names: Names) -> Result<Reader, Failure> {
        if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
            return Ok(Reader::Plain);
        }
        let menu = ColumnarMenu::default().with_name("completion");
        let mut keys = default_emacs_keybindings();
        keys.add_binding(
            KeyModifiers::NONE,
            KeyCode::Tab,
            ReedlineEvent::UntilFound(vec![
                ReedlineEvent::Menu("completion".to_owned()),
                ReedlineEvent::MenuNext,
            ]),
        );
        let mut editor = Reedline::create()
            .with_validator(Box::new(Brackets))
            .with_completer(Box::new(names))
            .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
            .with_edit_mode(Box::new(Emacs::new(keys)));
        // Without a home there is a history of this session only.
        if let Some(file) = history_file()
            && let Ok(history) = FileBackedHistory::with_file(HISTORY, file)
        {
            editor = editor.with_history(Box::new(history));
        }
        Ok(Reader::Editor(Box::new(editor)))
    }

    pub(super) fn read(&mut self) -> Result<Entered, Failure> {
        match self {
            Reader::Editor(editor) => match editor.read_line(&Prompts) {
                Ok(Signal::Success(text)) => Ok(Entered::Text(text)),
                Ok(Signal::CtrlC) => Ok(Entered::Aborted),
                Ok(_) => Ok(Entered::End),
                Err(error) => Err(Failure::Failed(format!(
                    "cannot read from the terminal: {error}; TERM=dumb reads plain lines"
                ))),
            },
            Reader::Plain => read_plain(),
        }
    }
}

fn read_plain() -> Result<Entered, Failure> {
    let broken = |error: io::Error| Failure::Failed(format!("cannot read standard input: {error}"));
    let mut text = String::new();
    loop {
        let prompt = if text.is_empty() {
            PROMPT
        } else {
            CONTINUATION
        };
        let mut out = io::stdout().lock();
        out.write_all(prompt.as_bytes())
            .and_then(|()| out.flush())
            .map_err(broken)?;
        if io::stdin().lock().read_line(&mut text).map_err(broken)? == 0 {
            return Ok(if text.trim().is_empty() {
                Entered::End
            } else {
                Entered::Text(text)
            });
        }
        if is_complete(&text) {
            return Ok(Entered::Text(text));
        }
    }
}

/// Whether nothing is open any more; commands are lines.
fn is_complete(text: &str) -> bool {
    text.trim_start().starts_with(':') || Session::is_complete(text.as_bytes())
}

/// `$XDG_STATE_HOME/angarium/history`, below `~/.local/state` by default.
fn history_file() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = match folder("XDG_STATE_HOME") {
        Some(state) => PathBuf::from(state),
        None => PathBuf::from(folder("HOME")?).join(".local/state"),
    };
    Some(state.join("angarium").join("history"))
}

struct Prompts;

impl Prompt for Prompts {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(PROMPT)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed(CONTINUATION)
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}

struct Brackets;

impl Validator for Brackets {
    fn validate(&self, line: &str) -> ValidationResult {
        if is_complete(line) {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

/// The names that completion offers: those of the table, and what the session has defined.
#[derive(Clone)]
pub(super) struct Names {
    fixed: Arc<[String]>,
    session: Arc<Mutex<Vec<String>>>,
}

impl Names {
    pub(super) fn of(library: &Library) -> Names {
        let mut names: Vec<String> = KEYWORDS.iter().map(|word| (*word).to_owned()).collect();
        let core = library.contexts().filter(|context| context.name == "core");
        for context in core {
            let functions = context.functions.iter().copied().flatten();
            names.extend(
                functions
                    .filter(|function| !function.legacy)
                    .map(|function| format!("{}(", table::name(function))),
            );
            for class in context.classes {
                let owner = table::name(&class.constructor);
                names.push(format!("{owner}("));
                let methods = class.methods.iter();
                names.extend(methods.map(|method| format!("->{}(", table::name(method))));
                let statics = class.statics.iter();
                names.extend(statics.map(|method| format!("{owner}::{}(", table::name(method))));
            }
        }
        names.sort();
        names.dedup();
        Names {
            fixed: names.into(),
            session: Arc::default(),
        }
    }

    /// Takes over what the session has defined.
    pub(super) fn update(&self, session: &Session) {
        let mut names: Vec<String> = session
            .functions()
            .into_iter()
            .map(|name| name + "(")
            .collect();
        let variables = session.variables().into_iter();
        names.extend(variables.map(|(name, _)| format!("${name}")));
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Where the word before `end` begins, and what may stand there.
    fn matching(&self, line: &str, end: usize) -> (usize, Vec<String>) {
        let before = line.get(..end).unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | ':');
        let mut start = before.rfind(|c| !word(c)).map_or(0, |at| {
            at + before[at..].chars().next().map_or(1, char::len_utf8)
        });
        if before[..start].ends_with("->") {
            start -= 2;
        }
        let part = &before[start..];
        if part.is_empty() {
            return (start, Vec::new());
        }
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.fixed.iter().chain(session.iter());
        let found = all.filter(|name| name.starts_with(part)).cloned();
        (start, found.collect())
    }
}

impl Completer for Names {
    fn complete(&mut self, line: &str, pos: usize) -> Vec<Suggestion> {
        let (start, found) = self.matching(line, pos);
        found
            .into_iter()
            .map(|value| Suggestion {
                value,
                span: Span { start, end: pos },
                ..Suggestion::default()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_knows_functions_variables_and_methods() {
        let names = Names::of(&crate::scripts::library());
        names.session.lock().unwrap().push("$message".to_owned());
        let at_end = |line: &str| names.matching(line, line.len());
        assert_eq!(
            at_end("$x = str_repl"),
            (5, vec!["str_replace(".to_owned()])
        );
        assert_eq!(at_end("echo $mes"), (5, vec!["$message".to_owned()]));
        assert_eq!(at_end("$f->readl"), (2, vec!["->readline(".to_owned()]));
        assert_eq!(at_end("File::Str"), (0, vec!["File::String(".to_owned()]));
        assert_eq!(at_end("é = "), (5, Vec::new()));
    }

    #[test]
    fn open_brackets_ask_for_more_and_commands_do_not() {
        assert!(!is_complete("f(1,"));
        assert!(is_complete("f(1)"));
        assert!(is_complete(":help (") && is_complete(":quit"));
    }
}
