//! Debug points: `__debug ["SESSION", "POINT"] statement`.
//!
//! A host that can stop scripts declares a built-in [`HOOK`], a name that no script can write. Then the prefix calls it
//! before the statement with where it stands and the variables that have a value; otherwise it is nothing.

use angarium_syntax::ast;

use crate::Span;
use crate::builtins::Builtin;
use crate::bytecode::{Const, Op};
use crate::compile::Compiler;

/// The built-in that is called at debug points:
///
/// `__debug(session: string, point: string, file: string, place: array, variables: array): any`, where `place` holds the
/// line and column of the statement's begin and of its end.
pub const HOOK: &str = "__debug";

impl Compiler<'_> {
    pub(super) fn debug_point(&mut self, node: &ast::Debug) {
        let Some(Builtin::Function(hook)) = self.builtins.lookup(HOOK) else {
            return;
        };
        let mark = self.mark();
        let first = self.temp();
        let point = self.temp();
        let file = self.temp();
        let place = self.temp();
        let variables = self.temp();
        let span = node.body.span;
        self.at(span);
        self.load(first, Const::Str(node.session.value.clone()));
        self.load(point, Const::Str(node.point.value.clone()));
        let name = self.sources.name(span.file).as_bytes().into();
        self.load(file, Const::Str(name));
        self.place_of(span, place);
        self.values_of_variables(variables);
        self.at(span);
        self.emit(Op::CallNative, first, 5, first, hook);
        self.reset(mark);
    }

    /// dst := [line, column, line behind, column behind]
    fn place_of(&mut self, span: Span, dst: u8) {
        let (begin, end) = (self.sources.position(span), self.sources.end_position(span));
        self.emit(Op::NewArray, dst, 0, 0, 4);
        for number in [begin.line, begin.column, end.line, end.column] {
            let mark = self.mark();
            let register = self.temp();
            self.load(register, Const::Number(f64::from(number)));
            self.emit(Op::MovePush, dst, register, 0, 0);
            self.reset(mark);
        }
    }

    /// dst := the variables of the function that have a value, by name
    fn values_of_variables(&mut self, dst: u8) {
        let names: Vec<Box<str>> = (0..self.f.variable_count())
            .map(|index| self.f.variable_name(index).into())
            .collect();
        self.emit(Op::NewArray, dst, 1, 0, names.len().min(1 << 16) as u32);
        for name in names {
            let mark = self.mark();
            let value = self.temp();
            self.quiet_variable(&name, value);
            let has_value = self.emit(Op::JumpDef, value, 0, 0, 0);
            let over = self.emit(Op::Jump, 0, 0, 0, 0);
            self.patch(has_value);
            let key = self.constant(Const::Str(name.as_bytes().into()));
            self.emit(Op::MoveIndexK, dst, value, 0, key);
            self.patch(over);
            self.reset(mark);
        }
    }
}
