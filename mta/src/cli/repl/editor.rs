//! How statements are entered: line editing with history and completion where the terminal allows it, plain lines
//! elsewhere (`TERM=dumb`).
//!
//! Each line is edited on its own: while something is open the next one is asked for, and the history gets the
//! statement as a whole.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;

use angarium_runtime::Session;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::complete::Names;
use crate::cli::failure::Failure;
use crate::cli::{files, terminal};

const PROMPT: &str = "hsl> ";
const CONTINUATION: &str = "...> ";
/// Statements that the history keeps.
const HISTORY: usize = 10_000;

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
pub(super) struct Reader {
    editor: Editor<Help, FileHistory>,
    /// Where the history is kept; none without a home.
    history: Option<PathBuf>,
}

impl Reader {
    pub(super) fn new(names: Rc<RefCell<Names>>) -> Result<Reader, Failure> {
        let broken = |error| Failure::Failed(format!("cannot use the terminal: {error}"));
        let config = Config::builder()
            .max_history_size(HISTORY)
            .map_err(broken)?
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config).map_err(broken)?;
        editor.set_helper(Some(Help {
            names,
            open: String::new(),
        }));
        let history = history_file();
        if let Some(file) = &history {
            // There is none before the first session, and a broken one must not keep anybody from working.
            let _ = editor.load_history(file);
        }
        Ok(Reader { editor, history })
    }

    /// Reads lines until nothing is open any more. `interrupted` says whether Ctrl-C was pressed meanwhile, which a
    /// terminal without editing tells by a signal alone.
    pub(super) fn read(
        &mut self,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Result<Entered, Failure> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() {
                PROMPT
            } else {
                CONTINUATION
            };
            if let Some(help) = self.editor.helper_mut() {
                help.open.clone_from(&text);
            }
            match self.editor.readline(prompt) {
                Ok(line) => {
                    if interrupted() {
                        text.clear();
                    }
                    text.push_str(&line);
                }
                Err(ReadlineError::Interrupted) => return Ok(Entered::Aborted),
                Err(ReadlineError::Eof) if text.trim().is_empty() => return Ok(Entered::End),
                // What is open is shown to be wrong, and the next Ctrl-D ends.
                Err(ReadlineError::Eof) => return Ok(Entered::Text(text)),
                // Bytes of another encoding, pasted mostly: nothing that a session should end of.
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    terminal::error("what was typed is no UTF-8; the line is dropped\n");
                    return Ok(Entered::Aborted);
                }
                Err(error) => {
                    return Err(Failure::Failed(format!(
                        "cannot read from the terminal: {error}"
                    )));
                }
            }
            if is_complete(&text) {
                self.remember(&text);
                return Ok(Entered::Text(text));
            }
            text.push('\n');
        }
    }

    /// Puts a statement into the history, and into its file at once: another session may begin meanwhile.
    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        // Without a history file there is the history of this session.
        let _ = self.editor.add_history_entry(text);
        if let Some(file) = &self.history
            && file
                .parent()
                .is_some_and(|folder| files::create_folder(folder).is_ok())
        {
            let _ = self.editor.append_history(file);
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

/// What the editor asks while somebody types.
struct Help {
    names: Rc<RefCell<Names>>,
    /// The lines of the statement before the one that is edited.
    open: String,
}

impl Completer for Help {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..pos).unwrap_or_default();
        let mut text: Cow<'_, str> = Cow::Borrowed(before);
        if !self.open.is_empty() {
            text = Cow::Owned(format!("{}{before}", self.open));
        }
        let (length, found) = self.names.borrow().matching(&text);
        let pairs = found.into_iter().map(|name| Pair {
            display: name.clone(),
            replacement: name,
        });
        // The word that is completed never begins on an earlier line: no word holds a line feed.
        Ok((pos.saturating_sub(length), pairs.collect()))
    }
}

impl Hinter for Help {
    type Hint = String;
}
impl Highlighter for Help {}
impl Validator for Help {}
impl Helper for Help {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_brackets_ask_for_more_and_commands_do_not() {
        assert!(!is_complete("f(1,"));
        assert!(is_complete("f(1)"));
        assert!(is_complete(":help (") && is_complete(":quit"));
    }
}
