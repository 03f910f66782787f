//! Where an execution ended: the calls that were going on, for people.

use std::fmt::Write as _;

use angarium_lang::suggest::nearest;

use crate::exception::Place;
use crate::vm::fiber::{Fiber, Frame, FrameKind};

/// How many of the innermost calls are kept.
const INNER: usize = 8;
/// How many of the outermost ones.
const OUTER: usize = 4;
/// Longest include chain that is shown.
const MAX_CHAIN: usize = 16;

/// A call that was going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The function, with its class (`C->f`, `C::f`); none for the main program.
    pub function: Option<String>,
    /// Where it was.
    pub place: Option<Place>,
}

/// The calls that were going on when an execution ended. Deep recursion leaves the middle out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The calls, innermost first.
    pub calls: Vec<Call>,
    /// How many are left out after the first ones.
    pub left_out: usize,
    /// The `include` and `import` statements that led to the file of the innermost call, innermost first.
    pub included_from: Vec<Place>,
    /// What could mend it.
    pub hint: Option<String>,
    /// The source line of the innermost call.
    pub source_line: Option<Vec<u8>>,
}

impl Trace {
    /// The calls, a line each, when there is more than the main program; then the include chain.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut out = String::new();
        if self.calls.len() > 1 {
            for (index, call) in self.calls.iter().enumerate() {
                if index == INNER && self.left_out > 0 {
                    // Writing to a string cannot fail.
                    let _ = writeln!(out, "  … {} more calls", self.left_out);
                }
                let place = call.place.as_ref().map_or_else(|| "?".to_owned(), show);
                let _ = match &call.function {
                    Some(function) => writeln!(out, "  at {function} ({place})"),
                    None => writeln!(out, "  at {place}"),
                };
            }
        }
        for place in &self.included_from {
            let _ = writeln!(out, "included from {}", show(place));
        }
        out
    }

    /// The same on one line for logs: ` in f, called at FILE:LINE:COLUMN, …`; empty in the main program.
    #[must_use]
    pub fn line(&self) -> String {
        let Some(function) = self.calls.first().and_then(|call| call.function.as_ref()) else {
            return String::new();
        };
        let mut out = format!(" in {function}");
        for (index, call) in self.calls.iter().enumerate().skip(1).take(INNER) {
            let place = call.place.as_ref().map_or_else(|| "?".to_owned(), show);
            let word = if index == 1 { "called at " } else { "" };
            let _ = write!(out, ", {word}{place}");
        }
        if self.calls.len() > INNER + 1 {
            out.push_str(", …");
        }
        out
    }
}

fn show(place: &Place) -> String {
    let file = place.file.as_deref().unwrap_or_default();
    let separator = if file.is_empty() { "line " } else { ":" };
    format!("{file}{separator}{}:{}", place.line, place.column)
}

impl Fiber {
    /// The calls that are going on; `message` is the text of an error, for a hint.
    pub(crate) fn trace(&self, message: &str) -> Trace {
        let frames: Vec<&Frame> = self
            .frames
            .iter()
            .rev()
            .filter(|frame| frame.kind != FrameKind::Task)
            .collect();
        let left_out = frames.len().saturating_sub(INNER + OUTER);
        let (inner, rest) = frames.split_at(frames.len().min(INNER));
        let outer = rest.iter().skip(left_out);
        let calls = inner.iter().chain(outer).map(|frame| Call {
            function: self.function_name(frame),
            place: self.place_in(frame),
        });
        Trace {
            calls: calls.collect(),
            left_out,
            included_from: frames
                .first()
                .map(|frame| self.included_from(frame))
                .unwrap_or_default(),
            hint: frames.first().and_then(|frame| self.hint(frame, message)),
            source_line: frames.first().and_then(|frame| self.source_line(frame)),
        }
    }

    /// The functions that were called, innermost first, as far as a trace goes; an empty name is the main program.
    pub(crate) fn calls(&self) -> Vec<String> {
        let frames = self.frames.iter().rev();
        frames
            .filter(|frame| frame.kind != FrameKind::Task)
            .take(INNER + OUTER)
            .map(|frame| self.function_name(frame).unwrap_or_default())
            .collect()
    }

    fn function_name(&self, frame: &Frame) -> Option<String> {
        let program = &self.instances.get(frame.instance as usize)?.unit.program;
        if frame.proto == program.main {
            return None;
        }
        let proto = self.proto(frame);
        let class = proto
            .class
            .and_then(|class| program.classes.get(class as usize));
        Some(match class {
            Some(class) if class.constructor == frame.proto => class.name.to_string(),
            Some(class) if proto.this => format!("{}->{}", class.name, proto.name),
            Some(class) if &*proto.name != "function" => format!("{}::{}", class.name, proto.name),
            _ => proto.name.to_string(),
        })
    }

    fn included_from(&self, frame: &Frame) -> Vec<Place> {
        let mut chain = Vec::new();
        let Some(instance) = self.instances.get(frame.instance as usize) else {
            return chain;
        };
        let program = &instance.unit.program;
        let mut span = self.proto(frame).place(frame.pc.saturating_sub(1));
        while let Some(at) = span
            && chain.len() < MAX_CHAIN
        {
            span = program.origins.get(at.file.0 as usize).copied().flatten();
            chain.extend(span.map(|span| Place::of(&program.sources, span)));
        }
        chain
    }

    fn source_line(&self, frame: &Frame) -> Option<Vec<u8>> {
        let program = &self.instances.get(frame.instance as usize)?.unit.program;
        let span = self.proto(frame).place(frame.pc.saturating_sub(1))?;
        let file = program.sources.file(span.file)?;
        Some(file.line(file.position(span.start).line).to_vec())
    }

    /// A variable that was meant perhaps.
    fn hint(&self, frame: &Frame, message: &str) -> Option<String> {
        let name = message.strip_prefix("undefined variable $")?;
        let program = &self.instances.get(frame.instance as usize)?.unit.program;
        let span = self.proto(frame).place(frame.pc.saturating_sub(1))?;
        let text = program.sources.file(span.file)?.text();
        let globals = program.globals.iter().map(|global| &*global.name);
        let near = nearest(name, variables_in(text).chain(globals))?;
        Some(format!("did you mean `${near}`?"))
    }
}

/// The variables that a text names.
fn variables_in(text: &[u8]) -> impl Iterator<Item = &str> {
    memchr::memchr_iter(b'$', text).filter_map(|at| {
        let rest = text.get(at + 1..)?;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        std::str::from_utf8(rest.get(..length)?).ok()
    })
}
