//! `=~` and `!~`: a search in the loop, and on the pool where that takes long (language.md 6.6).

use std::sync::{Arc, OnceLock};

use crate::host::{CompiledRegex, Matched, StopOnDrop};
use crate::native::{Cx, Input, Step, Task, Throw};
use crate::pieces::PIECE_BYTES;
use crate::regex::Regex;
use crate::string::Str;
use crate::value::Value;
use crate::vm::fiber::Fiber;

impl Fiber {
    /// Whether `subject =~ pattern` is `wanted`. A search that takes long is left for later, on the pool.
    pub(crate) fn matches(
        &mut self,
        subject: &Value,
        pattern: &Value,
        wanted: bool,
    ) -> Result<bool, Throw> {
        let subject = match subject {
            Value::String(subject) => subject.clone(),
            other => crate::vm::ops::text(other, &mut self.cx())?,
        };
        let regex = pattern
            .as_object()
            .and_then(|object| object.downcast::<Regex>());
        let compiled = match (regex, pattern) {
            (Some(regex), _) => Arc::clone(&regex.compiled),
            (None, Value::String(text)) => {
                self.host
                    .regex
                    .compile_text(text.as_bytes())
                    .map_err(|(message, at)| {
                        Throw::error(format!("bad regular expression: {message} at byte {at}"))
                    })?
            }
            (None, other) => {
                let kind = other.kind().name();
                return Err(Throw::error(format!("=~: expected a pattern, got {kind}")));
            }
        };
        // A pattern that was compiled for this is owed for.
        self.quantum = self.quantum.saturating_sub(crate::memory::take_owed());
        self.cx().charge(subject.len() / 16);
        match compiled.is_match(subject.as_bytes()) {
            Matched::Yes => Ok(wanted),
            Matched::No => Ok(!wanted),
            Matched::Limit => Err(Throw::later(Search {
                compiled,
                copy: Vec::with_capacity(subject.len()),
                subject,
                wanted,
            })),
        }
    }
}

/// A search that is made once more with the large limit, on the pool, with the script suspended.
struct Search {
    compiled: Arc<dyn CompiledRegex>,
    subject: Str,
    /// The subject as another thread can have it, copied in pieces.
    copy: Vec<u8>,
    wanted: bool,
}

impl Task for Search {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Input::Value(answer) = input {
            return Ok(Step::Done(answer));
        }
        let (at, bytes) = (self.copy.len(), self.subject.as_bytes());
        let end = bytes.len().min(at + PIECE_BYTES);
        self.copy
            .extend_from_slice(bytes.get(at..end).unwrap_or_default());
        if end < bytes.len() {
            cx.charge(PIECE_BYTES / 64);
            return Ok(Step::Again);
        }
        let (compiled, subject) = (Arc::clone(&self.compiled), std::mem::take(&mut self.copy));
        let wanted = self.wanted;
        let stop = StopOnDrop::default();
        let mut go_on = stop.go_on();
        let tell = Arc::new(OnceLock::new());
        let answer = Arc::clone(&tell);
        let run = cx.host.pool.run(Box::new(move || {
            let _ = tell.set(compiled.is_match_heavy(&subject, &mut go_on));
            Box::new(|_| Ok(Value::None))
        }));
        Ok(Step::Await(Box::pin(async move {
            let _stop = stop;
            let _finish = run.await;
            match answer.get() {
                Some(Matched::Yes) => Ok(Value::Boolean(wanted)),
                Some(Matched::No) => Ok(Value::Boolean(!wanted)),
                Some(Matched::Limit) => {
                    Err(Throw::error("regular expression: match limit exceeded"))
                }
                None => Err(Throw::error("the search was interrupted")),
            }
        })))
    }
}
