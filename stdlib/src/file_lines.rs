//! Older functions that read a whole file: its lines, its content, the line with a word (stdlib.md, legacy names).

use std::cell::Cell;
use std::rc::Rc;

use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::truthy;
use angarium_runtime::native::{
    Args, Cx, Finish, FnDecl, Heavy, Input, Job, Options, Step, Task, Throw, opt,
};
use angarium_runtime::object::Function;
use angarium_runtime::value::Value;
use smallvec::smallvec;

use crate::csv;
use crate::file::{named, whole};

/// Lines that are looked at in one piece of work.
const PIECE: usize = 1000;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::task(
        "file(filename: string): array",
        "Lists the lines of a file without their line ends. A missing file raises an Exception.",
        |cx, args| read(cx, &args, 0, "file", Lines::default()),
    )
    .legacy(),
    FnDecl::task(
        "file_get_contents(filename: string): string",
        "Gives the content of a file. A missing file raises an Exception; File::read gives none for it.",
        |cx, args| read(cx, &args, 0, "file_get_contents", Content),
    )
    .legacy(),
    FnDecl::task(
        "in_file(needle: string|function, filename: string, options?: array): array",
        "Gives the first line of a file with a word, as a list of its words, or an empty list. `needle` is the word, or a \
         function that is called with the words of each line and says whether it is the one. A missing file raises an \
         Exception.",
        in_file,
    )
    .options(&[
        opt("type", "string", "text/plain", "text/plain, or text/csv, whose first line names the columns"),
        opt("delimiter", "string", "", "what stands between words; default white space, or a comma for text/csv"),
        opt("assoc", "boolean", "true", "text/csv: give the words by the names of their columns"),
        opt("index", "number", "0", "which word of a line is compared, from 0"),
    ])
    .legacy(),
];

/// What is done with the content, in pieces.
trait Work {
    /// Goes on; `answer` is that of the function that was called last.
    fn go_on(&mut self, cx: &mut Cx<'_>, text: &[u8], answer: Option<Value>)
    -> Result<Step, Throw>;
}

/// Reads a file and does the work on it.
struct Reading<W> {
    stage: Stage,
    work: W,
}

enum Stage {
    Begin(Job),
    Reading(Rc<Cell<Option<Finish>>>),
    Text(Value),
}

fn read<W: Work + 'static>(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    index: usize,
    function: &str,
    work: W,
) -> Result<Box<dyn Task>, Throw> {
    let missing = || {
        let name = String::from_utf8_lossy(args.bytes(index)).into_owned();
        Throw::error(format!("{function}: the file \"{name}\" cannot be read"))
    };
    let data = named(cx, args, index).ok_or_else(missing)?;
    let stage = match whole(cx, data)? {
        Heavy::Done(Value::None) => return Err(missing()),
        Heavy::Done(text) => Stage::Text(text),
        Heavy::Offload(job) => Stage::Begin(job),
        Heavy::Task(_) => return Err(missing()),
    };
    Ok(Box::new(Reading { stage, work }))
}

impl<W: Work> Task for Reading<W> {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Stage::Begin(_) = self.stage {
            let finish = Rc::<Cell<Option<Finish>>>::default();
            let begun = std::mem::replace(&mut self.stage, Stage::Reading(Rc::clone(&finish)));
            let Stage::Begin(job) = begun else {
                return Err(Throw::error("resumed out of order"));
            };
            let run = cx.host.pool.run(job);
            return Ok(Step::Await(Box::pin(async move {
                finish.set(Some(run.await));
                Ok(Value::None)
            })));
        }
        let mut answer = match input {
            Input::Value(value) => Some(value),
            Input::Start => None,
        };
        if let Stage::Reading(finish) = &self.stage {
            let finish = finish
                .take()
                .ok_or_else(|| Throw::error("resumed out of order"))?;
            let text = finish(cx)?;
            if text.is_none() {
                return Err(Throw::error("the file cannot be read"));
            }
            self.stage = Stage::Text(text);
            answer = None;
        }
        match &self.stage {
            Stage::Text(text) => {
                let text = text.clone();
                self.work
                    .go_on(cx, text.as_bytes().unwrap_or_default(), answer)
            }
            Stage::Begin(_) | Stage::Reading(_) => Err(Throw::error("resumed out of order")),
        }
    }
}

/// The content itself.
struct Content;

impl Work for Content {
    fn go_on(&mut self, _: &mut Cx<'_>, text: &[u8], _: Option<Value>) -> Result<Step, Throw> {
        Ok(Step::Done(Value::bytes(text)))
    }
}

/// Its lines.
#[derive(Default)]
struct Lines {
    at: usize,
    lines: Array,
}

/// The line at `at` without its end, which is moved behind it; none at the end of the text.
fn next_line<'a>(text: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = text.get(*at..).filter(|rest| !rest.is_empty())?;
    let (line, taken) = match memchr::memchr(b'\n', rest) {
        Some(end) => (rest.get(..end)?, end + 1),
        None => (rest, rest.len()),
    };
    *at += taken;
    // As readline has it: a CR before the end of the file goes too only with a line feed.
    let ended = taken > line.len();
    Some(match line.strip_suffix(b"\r") {
        Some(line) if ended => line,
        _ => line,
    })
}

impl Work for Lines {
    fn go_on(&mut self, cx: &mut Cx<'_>, text: &[u8], _: Option<Value>) -> Result<Step, Throw> {
        for _ in 0..PIECE {
            let Some(line) = next_line(text, &mut self.at) else {
                return Ok(Step::Done(
                    std::mem::replace(&mut self.lines, Array::new()).into(),
                ));
            };
            cx.charge(1 + line.len() / 64);
            self.lines.push(Value::bytes(line));
        }
        cx.fits_entries(self.lines.len())?;
        Ok(Step::Again)
    }
}

/// The line with a word.
struct Search {
    needle: Needle,
    index: usize,
    form: Form,
    /// The line that the function was asked about.
    asked: Option<Value>,
}

enum Needle {
    Word(Vec<u8>),
    Function(Rc<Function>),
}

enum Form {
    Plain {
        at: usize,
        /// None: white space.
        delimiter: Option<Vec<u8>>,
    },
    Csv {
        rows: csv::Rows,
        /// The first row names the columns, though not in the result, and is no line.
        skip: bool,
    },
}

fn in_file(cx: &mut Cx<'_>, mut args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let options = args.options(2);
    let index = options.number("index", 0.0);
    let kind = options.string("type");
    let kind = kind
        .as_ref()
        .map_or(b"text/plain".as_slice(), |kind| kind.as_bytes());
    let form = match kind {
        b"text/plain" => {
            let delimiter = options.string("delimiter");
            let delimiter = delimiter.map(|delimiter| delimiter.as_bytes().to_vec());
            Form::Plain {
                at: 0,
                delimiter: delimiter.filter(|delimiter| !delimiter.is_empty()),
            }
        }
        b"text/csv" => csv_form(&options)?,
        other => {
            let other = String::from_utf8_lossy(other);
            return Err(Throw::error(format!(
                "in_file: the type \"{other}\" is neither text/plain nor text/csv"
            )));
        }
    };
    let needle = match args.take(0) {
        Value::Function(function) => Needle::Function(function),
        word => Needle::Word(word.as_bytes().unwrap_or_default().to_vec()),
    };
    let search = Search {
        needle,
        index: index as usize,
        form,
        asked: None,
    };
    read(cx, &args, 1, "in_file", search)
}

fn csv_form(options: &Options<'_>) -> Result<Form, Throw> {
    let assoc = options.boolean("assoc", true);
    let mut given = Array::new();
    given.insert(Key::from("header"), assoc.into());
    if let Some(delimiter) = options.string("delimiter") {
        given.insert(Key::from("delimiter"), delimiter.into());
    }
    let given: Value = given.into();
    let form = csv::Form::parse(given.as_array())
        .map_err(|error| Throw::error(format!("in_file: {error}")))?;
    Ok(Form::Csv {
        rows: csv::Rows::new(form),
        skip: !assoc,
    })
}

impl Form {
    /// The next line as words; none at the end.
    fn next(&mut self, cx: &mut Cx<'_>, text: &[u8]) -> Result<Option<Value>, Throw> {
        match self {
            Form::Plain { at, delimiter } => loop {
                let Some(line) = next_line(text, at) else {
                    return Ok(None);
                };
                cx.charge(1 + line.len() / 16);
                let words: Vec<Value> = match delimiter {
                    Some(delimiter) => memchr::memmem::find_iter(line, delimiter.as_slice())
                        .chain([line.len()])
                        .scan(0, |start, end| {
                            let word = line.get(*start..end).unwrap_or_default();
                            *start = end + delimiter.len();
                            Some(Value::bytes(word))
                        })
                        .collect(),
                    None => line
                        .split(u8::is_ascii_whitespace)
                        .filter(|word| !word.is_empty())
                        .map(Value::bytes)
                        .collect(),
                };
                // A blank line has no words to be looked at.
                if !words.is_empty() && !line.is_empty() {
                    return Ok(Some(Array::from_list(words).into()));
                }
            },
            Form::Csv { rows, skip } => loop {
                let row = rows.next(text).map_err(|fault| {
                    let message = fault.message;
                    Throw::error(format!("in_file: byte {}: {message}", fault.offset))
                })?;
                let Some((row, bytes)) = row else {
                    return Ok(None);
                };
                cx.charge(1 + bytes / 8);
                if !std::mem::take(skip) {
                    return Ok(Some(row));
                }
            },
        }
    }
}

impl Work for Search {
    fn go_on(
        &mut self,
        cx: &mut Cx<'_>,
        text: &[u8],
        answer: Option<Value>,
    ) -> Result<Step, Throw> {
        if let (Some(line), Some(answer)) = (self.asked.take(), answer)
            && truthy(&answer)
        {
            return Ok(Step::Done(line));
        }
        for _ in 0..PIECE {
            let Some(line) = self.form.next(cx, text)? else {
                return Ok(Step::Done(Array::new().into()));
            };
            match &self.needle {
                Needle::Function(function) => {
                    self.asked = Some(line.clone());
                    return Ok(Step::Call(Rc::clone(function), smallvec![line]));
                }
                Needle::Word(needle) => {
                    let word = line
                        .as_array()
                        .and_then(|line| line.values().nth(self.index));
                    if word.as_ref().and_then(Value::as_bytes) == Some(needle) {
                        return Ok(Step::Done(line));
                    }
                }
            }
        }
        Ok(Step::Again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_readline_has_them() {
        let lines = |text: &str| {
            let (mut at, mut lines) = (0, Vec::new());
            while let Some(line) = next_line(text.as_bytes(), &mut at) {
                lines.push(String::from_utf8_lossy(line).into_owned());
            }
            lines
        };
        for text in ["", "a", "a\n", "a\r\nb", "\n\n", "a\r", "\r\r\nx\n"] {
            let expected: Vec<&str> = text.lines().collect();
            assert_eq!(lines(text), expected, "{text:?}");
        }
    }
}
