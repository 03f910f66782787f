//! Expressions.

use std::rc::Rc;

use angarium_syntax::ast::{
    self, BinaryOp, Chain, Element, Expr, ExprKind, LinkKind, Match, Static, StaticClass,
    StaticMember, TargetKind, TemplatePart, Ternary, UnaryOp,
};

use crate::builtins::Builtin;
use crate::bytecode::{Const, Op};
use crate::compile::code::{Defined, Place, int};
use crate::compile::{ClassInfo, Compiler, Named, Role};
use crate::fold::{self, fold};
use crate::modules::Loading;
use crate::{Diagnostic, Span};

/// Words that are written as calls are.
const LIKE_FUNCTIONS: [&str; 3] = ["array", "isset", "unset"];

/// Words of statements that start like a call: `word (…) statement`.
const HEADERS: [&str; 5] = ["if", "while", "for", "foreach", "switch"];

/// Most values that one `List` or `Concat` takes; longer ones go in pieces.
const CHUNK: usize = 32;

/// An operand: known now, or in a register.
pub(super) enum Operand {
    Const(Const),
    Register(u8),
}

impl Compiler<'_> {
    /// The value of `expr` in a register: a variable's own one, or a new temporary.
    pub(super) fn expr(&mut self, expr: &Expr) -> u8 {
        if !self.plain
            && let ExprKind::Variable(name) = &expr.kind
            && let Some(register) = self.variable_register(name, expr.span)
        {
            return register;
        }
        let dst = self.temp();
        self.expr_into(expr, dst);
        dst
    }

    /// The value of `expr` if it is known now; without short cuts that of a literal alone.
    pub(super) fn known(&self, expr: &Expr) -> Option<Const> {
        let literal = matches!(
            expr.kind,
            ExprKind::None | ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::Str(_)
        );
        (literal || !self.plain).then(|| fold(expr)).flatten()
    }

    /// The register of a variable that has one, after making sure that it is defined.
    pub(super) fn variable_register(&mut self, name: &str, span: Span) -> Option<u8> {
        let index = self.f.variable(name)?;
        let Place::Register(register) = self.f.place(index) else {
            return None;
        };
        if self.plain || !self.f.is_defined(index) {
            self.at(span);
            let name = self.name(name);
            self.emit(Op::Check, register, 0, 0, name);
            self.f.define(index);
        }
        Some(register)
    }

    /// The value of `expr` as an operand beside `others`, which are evaluated after it.
    pub(super) fn operand(&mut self, expr: &Expr, others: &[&Expr]) -> Operand {
        if !self.plain
            && let Some(value) = fold(expr)
        {
            return Operand::Const(value);
        }
        let register = self.expr(expr);
        if !self.is_temp(register) && others.iter().any(|other| writes_variables(other)) {
            // The operand is read now, whatever the others do to the variable.
            let copy = self.temp();
            self.emit(Op::Copy, copy, register, 0, 0);
            return Operand::Register(copy);
        }
        Operand::Register(register)
    }

    /// An operand in a register.
    pub(super) fn in_register(&mut self, operand: Operand) -> u8 {
        match operand {
            Operand::Register(register) => register,
            Operand::Const(value) => {
                let dst = self.temp();
                self.load(dst, value);
                dst
            }
        }
    }

    /// Evaluates `expr` for its effects alone.
    pub(super) fn discard(&mut self, expr: &Expr) {
        let mark = self.mark();
        match &expr.kind {
            ExprKind::Assign(node) => self.assign(node, None),
            ExprKind::Step(node) => self.step(node, None),
            _ => {
                self.expr(expr);
            }
        }
        self.reset(mark);
    }

    /// Puts the value of `expr` into `dst`, which is a temporary, or a variable that only the last instruction may
    /// write ([`writes_last`]).
    pub(super) fn expr_into(&mut self, expr: &Expr, dst: u8) {
        if let Some(value) = self.known(expr) {
            self.at(expr.span);
            self.load(dst, value);
            return;
        }
        let mark = self.mark();
        match &expr.kind {
            ExprKind::None
            | ExprKind::Bool(_)
            | ExprKind::Number(_)
            | ExprKind::Str(_)
            | ExprKind::Error => {}
            ExprKind::Template(parts) => self.template(parts, dst),
            ExprKind::Regex(regex) => {
                self.at(expr.span);
                let value = Const::Regex {
                    pattern: regex.pattern.clone(),
                    modifiers: regex.modifiers.clone(),
                    span: expr.span,
                };
                self.load(dst, value);
            }
            ExprKind::Array(elements) => self.array(elements, dst),
            ExprKind::Variable(name) => self.variable(name, expr.span, dst),
            ExprKind::Name(name) => {
                if let Some(named) = self.named(name, expr.span) {
                    self.at(expr.span);
                    self.function_value(&named, dst);
                }
            }
            ExprKind::Builtin(name) => {
                if let Some(named) = self.builtin(name) {
                    self.at(expr.span);
                    self.function_value(&named, dst);
                }
            }
            ExprKind::Static(node) => self.static_value(node, expr.span, dst),
            ExprKind::Function(function) => self.closure(function, dst),
            ExprKind::Cache(node) => self.cache(node, expr.span, dst),
            ExprKind::Match(node) => self.match_into(node, expr.span, dst),
            ExprKind::Isset(target) => self.isset(target, dst),
            ExprKind::Unset(target) => self.unset(target, dst),
            ExprKind::Unary(node) => {
                let register = self.expr(&node.operand);
                self.at(node.op_span);
                let op = match node.op {
                    UnaryOp::Not => Op::Not,
                    UnaryOp::BitNot => Op::BitNot,
                    UnaryOp::Plus => Op::Number,
                    UnaryOp::Minus => Op::Neg,
                };
                self.emit(op, dst, register, 0, 0);
            }
            ExprKind::Step(node) => self.step(node, Some(dst)),
            ExprKind::Binary(chain) => self.chain(chain, dst),
            ExprKind::Logic(_) => self.logic_into(expr, dst),
            ExprKind::Coalesce(chain) => {
                let mut ends = Vec::new();
                let last = chain.rest.len();
                let operands = std::iter::once(&chain.first)
                    .chain(chain.rest.iter().map(|link| &link.operand));
                let mut state = None;
                for (at, operand) in operands.enumerate() {
                    if at == last {
                        self.expr_into(operand, dst);
                    } else {
                        self.quiet_into(operand, dst);
                        ends.push(self.emit(Op::JumpSome, dst, 0, 0, 0));
                        if at == 0 {
                            state = Some(self.state());
                        }
                    }
                    self.reset(mark);
                }
                self.patch_all(ends);
                if let Some(state) = state {
                    self.set_state(state);
                }
            }
            ExprKind::Ternary(node) => self.ternary(node, dst),
            ExprKind::Assign(node) => self.assign(node, Some(dst)),
            ExprKind::Postfix(node) => self.postfix(node, dst),
        }
        self.reset(mark);
    }

    fn variable(&mut self, name: &str, span: Span, dst: u8) {
        if let Some(register) = self.variable_register(name, span) {
            self.at(span);
            // The last reading of a variable moves its value, so that the callee may change it in place.
            let op = if self.f.dying == Some(register) {
                Op::Move
            } else {
                Op::Copy
            };
            self.emit(op, dst, register, 0, 0);
            return;
        }
        let Some(index) = self.f.variable(name) else {
            return;
        };
        self.at(span);
        let mark = self.mark();
        let cell = self.cell(index);
        let name = self.name(name);
        self.emit(Op::LoadCell, dst, cell, 0, name);
        self.reset(mark);
    }

    /// The register that holds the cell of a variable.
    pub(super) fn cell(&mut self, index: usize) -> u8 {
        match self.f.place(index) {
            Place::Register(register) | Place::Cell(register) => register,
            Place::FarGlobal(global) => {
                let cell = self.temp();
                self.emit(Op::Global, cell, 0, 0, global);
                cell
            }
            Place::Far { list, index } => {
                let cell = self.temp();
                self.emit(Op::Far, cell, list, 0, index);
                cell
            }
        }
    }

    // ---- Strings and arrays --------------------------------------------------------------------

    fn template(&mut self, parts: &[TemplatePart], dst: u8) {
        let mark = self.mark();
        let mut first = None;
        let mut count = 0;
        for part in parts {
            let register = self.temp();
            let start = *first.get_or_insert(register);
            match part {
                TemplatePart::Text(bytes) => self.load(register, Const::Str(bytes.clone())),
                TemplatePart::Variable(variable) => {
                    self.variable(&variable.name, variable.span, register)
                }
            }
            count += 1;
            if count == CHUNK {
                self.emit(Op::Concat, start, start, CHUNK as u8, 0);
                self.reset(usize::from(start) + 1);
                count = 1;
            }
        }
        if let Some(first) = first {
            self.emit(Op::Concat, dst, first, count as u8, 0);
        }
        self.reset(mark);
    }

    pub(super) fn array(&mut self, elements: &[Element], dst: u8) {
        let mut at = 0;
        let mut started = false;
        while at < elements.len() || !started {
            // A run of plain values goes in by one instruction.
            let run = elements[at..]
                .iter()
                .take(CHUNK)
                .take_while(|e| matches!(e, Element::Value(_)))
                .count();
            if !self.plain && (run > 1 || (run == 1 && !started)) {
                let mark = self.mark();
                let mut first = 0;
                for (offset, element) in elements[at..at + run].iter().enumerate() {
                    if let Element::Value(value) = element {
                        let register = self.temp();
                        if offset == 0 {
                            first = register;
                        }
                        self.expr_into(value, register);
                    }
                }
                let op = if started { Op::Extend } else { Op::List };
                self.emit(op, dst, first, run as u8, 0);
                self.reset(mark);
                started = true;
                at += run;
                continue;
            }
            if !started {
                self.emit(Op::NewArray, dst, 0, 0, elements.len().min(1 << 16) as u32);
                started = true;
                continue;
            }
            let mark = self.mark();
            match &elements[at] {
                Element::Value(value) => {
                    let register = self.expr(value);
                    let op = if self.is_temp(register) {
                        Op::MovePush
                    } else {
                        Op::Push
                    };
                    self.emit(op, dst, register, 0, 0);
                }
                Element::Pair(pair) => match self.operand(&pair.key, &[&pair.value]) {
                    Operand::Const(key) => {
                        let register = self.expr(&pair.value);
                        self.at(pair.arrow);
                        let key = self.constant(key);
                        let op = if self.is_temp(register) {
                            Op::MoveIndexK
                        } else {
                            Op::SetIndexK
                        };
                        self.emit(op, dst, register, 0, key);
                    }
                    Operand::Register(key) => {
                        let register = self.expr(&pair.value);
                        self.at(pair.arrow);
                        let op = if self.is_temp(register) {
                            Op::MoveIndex
                        } else {
                            Op::SetIndex
                        };
                        self.emit(op, dst, key, register, 0);
                    }
                },
                Element::Spread(spread) => {
                    let register = self.expr(&spread.value);
                    self.at(spread.dots);
                    self.emit(Op::Spread, dst, register, 0, 0);
                }
            }
            self.reset(mark);
            at += 1;
        }
    }

    // ---- Operators -----------------------------------------------------------------------------

    /// A chain of operators of one level.
    pub(super) fn chain(&mut self, chain: &Chain<BinaryOp>, dst: u8) {
        if chain.rest.iter().all(|link| link.op == BinaryOp::Concat) {
            let operands =
                std::iter::once(&chain.first).chain(chain.rest.iter().map(|link| &link.operand));
            let span = chain
                .rest
                .first()
                .map_or(chain.first.span, |link| link.op_span);
            self.concat(operands, span, dst);
            return;
        }
        let mark = self.mark();
        if let Some(link) = chain.rest.first() {
            self.warn_operands(link.op, &chain.first, &link.operand, link.op_span);
        }
        let others: Vec<&Expr> = chain.rest.iter().map(|link| &link.operand).collect();
        let mut left = self.operand(&chain.first, &others);
        let last = chain.rest.len() - 1;
        for (at, link) in chain.rest.iter().enumerate() {
            let right = match fold(&link.operand).filter(|_| !self.plain) {
                Some(value) => {
                    if let Operand::Const(a) = &left
                        && let Some(value) = fold::binary(link.op, a.clone(), value.clone())
                    {
                        left = Operand::Const(value);
                        continue;
                    }
                    Operand::Const(value)
                }
                None => Operand::Register(0),
            };
            let left_register = self.in_register(left);
            let right = match right {
                Operand::Register(_) => Operand::Register(self.expr(&link.operand)),
                known => known,
            };
            self.at(link.op_span);
            let target = if at == last {
                dst
            } else if self.is_temp(left_register) && usize::from(left_register) >= mark {
                left_register
            } else {
                self.temp()
            };
            self.binary(link.op, target, left_register, right);
            if at < last {
                self.reset(usize::from(target) + 1);
            }
            left = Operand::Register(target);
        }
        if let Operand::Const(value) = left {
            self.load(dst, value);
        }
        self.reset(mark);
    }

    /// dst := left op right
    pub(super) fn binary(&mut self, op: BinaryOp, dst: u8, left: u8, right: Operand) {
        if let Operand::Const(Const::Number(number)) = &right
            && let Some(number) = int(*number)
        {
            let immediate = match op {
                BinaryOp::Add => Some(Op::AddI),
                BinaryOp::Sub => Some(Op::SubI),
                BinaryOp::Mul => Some(Op::MulI),
                BinaryOp::Div => Some(Op::DivI),
                BinaryOp::Rem => Some(Op::RemI),
                BinaryOp::BitAnd => Some(Op::BitAndI),
                BinaryOp::BitOr => Some(Op::BitOrI),
                BinaryOp::BitXor => Some(Op::BitXorI),
                BinaryOp::ShiftLeft => Some(Op::ShlI),
                BinaryOp::ShiftRight => Some(Op::ShrI),
                BinaryOp::ShiftRightZero => Some(Op::UShrI),
                _ => None,
            };
            if let Some(immediate) = immediate {
                self.emit(immediate, dst, left, 0, number as u32);
                return;
            }
        }
        let right = match (op, right) {
            (BinaryOp::Matches | BinaryOp::NotMatches, Operand::Const(Const::Str(text))) => {
                // A literal pattern is compiled once, and a bad one is a compile error.
                let (pattern, modifiers) = split_pattern(&text);
                let span = self.span();
                Operand::Const(Const::Regex {
                    pattern: pattern.into(),
                    modifiers: modifiers.into(),
                    span,
                })
            }
            (_, right) => right,
        };
        let right = self.in_register(right);
        let op = binary_op(op);
        self.emit(op, dst, left, right, 0);
    }

    /// dst := the operands joined
    pub(super) fn concat<'e>(
        &mut self,
        operands: impl Iterator<Item = &'e Expr>,
        span: Span,
        dst: u8,
    ) {
        let mark = self.mark();
        let mut first = None;
        let mut count = 0;
        let mut pending: Option<Const> = None;
        let mut operands = operands.peekable();
        while let Some(operand) = operands.next() {
            // Neighbouring constants are joined now.
            if !self.plain
                && let Some(value) = fold(operand)
            {
                let joined = match pending.take() {
                    None => Some(value.clone()),
                    Some(before) => {
                        match fold::binary(BinaryOp::Concat, before.clone(), value.clone()) {
                            Some(joined) => Some(joined),
                            None => {
                                pending = Some(before);
                                None
                            }
                        }
                    }
                };
                match joined {
                    Some(joined) => pending = Some(joined),
                    None => {
                        self.concat_part(&mut first, &mut count, span, pending.take(), None);
                        pending = Some(value);
                    }
                }
                if operands.peek().is_some() {
                    continue;
                }
                self.concat_part(&mut first, &mut count, span, pending.take(), None);
                continue;
            }
            if let Some(value) = pending.take() {
                self.concat_part(&mut first, &mut count, span, Some(value), None);
            }
            self.concat_part(&mut first, &mut count, span, None, Some(operand));
        }
        self.at(span);
        if let Some(first) = first {
            self.emit(Op::Concat, dst, first, count, 0);
        }
        self.reset(mark);
    }

    fn concat_part(
        &mut self,
        first: &mut Option<u8>,
        count: &mut u8,
        span: Span,
        value: Option<Const>,
        operand: Option<&Expr>,
    ) {
        let register = self.temp();
        let start = *first.get_or_insert(register);
        if let Some(value) = value {
            self.load(register, value);
        }
        if let Some(operand) = operand {
            self.expr_into(operand, register);
        }
        *count += 1;
        if usize::from(*count) == CHUNK {
            self.at(span);
            self.emit(Op::Concat, start, start, CHUNK as u8, 0);
            self.reset(usize::from(start) + 1);
            *count = 1;
        }
    }

    fn ternary(&mut self, node: &Ternary, dst: u8) {
        let mark = self.mark();
        let mut ends = Vec::new();
        let mut after: Option<Defined> = None;
        for arm in &node.arms {
            match &arm.then {
                Some(then) => {
                    let skips = self.jump_if(&arm.condition, false);
                    let state = self.state();
                    self.expr_into(then, dst);
                    self.reset(mark);
                    ends.push(self.emit(Op::Jump, 0, 0, 0, 0));
                    self.join(&mut after);
                    self.set_state(state);
                    self.patch_all(skips);
                }
                None => {
                    self.expr_into(&arm.condition, dst);
                    self.reset(mark);
                    ends.push(self.emit(Op::JumpT, dst, 0, 0, 0));
                    self.join(&mut after);
                }
            }
        }
        self.expr_into(&node.otherwise, dst);
        self.reset(mark);
        if let Some(after) = after {
            self.meet(&after);
        }
        self.patch_all(ends);
    }

    /// Adds the current state to those that meet later.
    pub(super) fn join(&self, after: &mut Option<Defined>) {
        match after {
            Some(_) => {
                let mut state = self.state();
                if let Some(after) = after.take() {
                    state.meet_with(&after);
                }
                *after = Some(state);
            }
            None => *after = Some(self.state()),
        }
    }

    fn match_into(&mut self, node: &Match, span: Span, dst: u8) {
        let subject = self.temp();
        self.expr_into(&node.subject, subject);
        let start = self.state();
        let mark = self.mark();
        let mut arms: Vec<Vec<usize>> = Vec::new();
        for arm in &node.arms {
            let mut jumps = Vec::new();
            for pattern in &arm.patterns {
                jumps.push(self.jump_equal(subject, pattern));
                self.reset(mark);
            }
            arms.push(jumps);
        }
        let start_of_arms = {
            let mut state = self.state();
            state.meet_with(&start);
            state
        };
        let no_hit = self.emit(Op::Jump, 0, 0, 0, 0);
        let mut ends = Vec::new();
        let mut after = None;
        let mut has_default = false;
        for (arm, jumps) in node.arms.iter().zip(arms) {
            self.set_state(start_of_arms.clone());
            self.patch_all(jumps);
            if arm.is_default() {
                self.patch(no_hit);
                has_default = true;
            }
            self.expr_into(&arm.value, dst);
            self.reset(mark);
            ends.push(self.emit(Op::Jump, 0, 0, 0, 0));
            self.join(&mut after);
        }
        if !has_default {
            self.patch(no_hit);
            self.at(span);
            self.emit(Op::NoArm, subject, 0, 0, 0);
        }
        self.patch_all(ends);
        self.set_state(after.unwrap_or(start_of_arms));
    }

    // ---- Names ---------------------------------------------------------------------------------

    /// What the name of a function or class means; an unknown one is reported.
    pub(super) fn named(&mut self, name: &str, span: Span) -> Option<Named> {
        let named = self.lookup(name);
        if named.is_none() && !self.modules[self.module].broken.contains(name) {
            let mut error = Diagnostic::error(span, format!("unknown function `{name}`"));
            if let Some(import) = self.import_that_has(name, span) {
                error = error
                    .also(import, format!("this module has a function `{name}`"))
                    .hint(format!("import it: `import {{ {name} }} from …`"));
            } else {
                error.hint = self.builtins.elsewhere(name).or_else(|| {
                    let headers = HEADERS.iter().filter(|_| self.is_header(span)).copied();
                    let words = LIKE_FUNCTIONS.into_iter().chain(headers);
                    let known = self.known_names().into_iter().chain(words);
                    let near = crate::suggest::nearest(name, known)?;
                    Some(format!("did you mean `{near}`?"))
                });
            }
            self.report(error);
        }
        named
    }

    /// Whether a statement follows the parentheses behind a name, which itself starts one: then it was no call.
    fn is_header(&self, name: Span) -> bool {
        let Some(file) = self.sources.file(name.file) else {
            return false;
        };
        let Some((before, after)) = file.text().split_at_checked(name.start as usize) else {
            return false;
        };
        let line = before
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let starts = match line.trim_ascii_end().last() {
            Some(byte) => b";{})".contains(byte),
            None => true,
        };
        let mut depth = 0_usize;
        let close = after.iter().position(|byte| {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            *byte == b')' && depth == 0
        });
        let next = close.and_then(|close| after.get(close + 1..)?.trim_ascii_start().first());
        starts && next.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_${".contains(byte))
    }

    /// The import in the same file as `span` whose module has a function of that name.
    fn import_that_has(&self, name: &str, span: Span) -> Option<Span> {
        let modules = self.module_files.iter();
        let mut imports: Vec<Span> = modules
            .filter_map(|(path, loading)| match loading {
                Loading::Done(module) => {
                    self.modules.get(*module)?.functions.get(name)?;
                    let source = self.paths.iter().position(|source| source == path)?;
                    self.origins.get(source).copied().flatten()
                }
                Loading::Open | Loading::Failed => None,
            })
            .filter(|import| import.file == span.file)
            .collect();
        imports.sort();
        imports.first().copied()
    }

    /// `builtin name`
    pub(super) fn builtin(&mut self, name: &ast::Name) -> Option<Named> {
        let found = self.builtins.lookup(&name.text);
        if found.is_none() {
            let hint = crate::suggest::nearest(&name.text, self.builtins.names().into_iter());
            let hint = hint.map(|near| format!("did you mean `{near}`?"));
            self.error(
                name.span,
                format!("unknown built-in function `{}`", name.text),
                hint,
            );
        }
        found.map(Named::Builtin)
    }

    /// The class that stands before `::`, if it is one of the script's.
    fn class_before(&mut self, class: &StaticClass) -> Option<Rc<ClassInfo>> {
        match class {
            StaticClass::Own(_) => self.class.clone(),
            StaticClass::Name(name) => match self.lookup(&name.text) {
                Some(
                    Named::Class(info)
                    | Named::Shared {
                        class: Some(info), ..
                    },
                ) => Some(info),
                _ => None,
            },
        }
    }

    /// Lets the use of a private member from outside of its class throw.
    fn check_private(&mut self, info: &ClassInfo, member: &str, private: bool, span: Span) {
        if private && self.f.proto.class != Some(info.index) {
            self.at(span);
            let message = format!("{}::{member} is private", info.name);
            let message = self.constant(Const::Str(message.into_bytes().into()));
            self.emit(Op::Fail, 0, 0, 0, message);
        }
    }

    fn unknown_member(
        &mut self,
        span: Span,
        message: String,
        name: &str,
        sigil: &str,
        known: &[Box<str>],
    ) {
        let near = crate::suggest::nearest(name, known.iter().map(|name| &**name));
        let hint = near.map(|near| format!("did you mean `{sigil}{near}`?"));
        self.error(span, message, hint);
    }

    fn unknown_class(&mut self, class: &StaticClass) {
        match class {
            StaticClass::Own(own) => self.error(*own, "`static` outside of a class", None),
            StaticClass::Name(name) if self.modules[self.module].broken.contains(&name.text) => {}
            StaticClass::Name(name) if self.lookup(&name.text).is_some() => {
                self.error(name.span, format!("`{}` is not a class", name.text), None);
            }
            StaticClass::Name(name) => {
                let names = self.modules[self.module]
                    .namespaces
                    .keys()
                    .map(|name| &**name);
                let near = crate::suggest::nearest(&name.text, names.chain(self.known_names()));
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                self.error(
                    name.span,
                    format!("unknown class or namespace `{}`", name.text),
                    hint,
                );
            }
        }
    }

    /// `ns::name`, `Class::name`
    pub(super) fn static_named(&mut self, node: &Static, span: Span) -> Option<Named> {
        let StaticMember::Name(member) = &node.member else {
            return None;
        };
        if let StaticClass::Name(class) = &node.class
            && let Some(module) = self.modules[self.module]
                .namespaces
                .get(&class.text)
                .copied()
        {
            let found = self.modules[module].functions.get(&member.text).cloned();
            if found.is_none() {
                let known: Vec<Box<str>> = self.modules[module].functions.keys().cloned().collect();
                let message = format!("the module has no `{}`", member.text);
                self.unknown_member(member.span, message, &member.text, "", &known);
            }
            return found;
        }
        if let Some(info) = self.class_before(&node.class) {
            let Some((named, private)) = info.functions.get(&member.text).cloned() else {
                let known: Vec<Box<str>> = info.functions.keys().cloned().collect();
                let message = format!(
                    "class `{}` has no static function `{}`",
                    info.name, member.text
                );
                self.unknown_member(member.span, message, &member.text, "", &known);
                return None;
            };
            self.check_private(&info, &member.text, private, span);
            return Some(named);
        }
        if let StaticClass::Name(class) = &node.class
            && let Some(Named::Builtin(Builtin::Class(index))) = self.lookup(&class.text)
        {
            let method = self.builtins.static_method(index, &member.text);
            if method.is_none() {
                let message = format!(
                    "class `{}` has no static function `{}`",
                    class.text, member.text
                );
                let known = self.builtins.static_names(index);
                let near = crate::suggest::nearest(&member.text, known.into_iter());
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                self.error(member.span, message, hint);
            }
            return method.map(Named::BuiltinStatic);
        }
        self.unknown_class(&node.class);
        None
    }

    /// Whether a static variable is private to another class, so that `isset` and `??` do not see it.
    pub(super) fn is_hidden(&mut self, node: &Static) -> bool {
        let StaticMember::Variable(variable) = &node.member else {
            return false;
        };
        let own = self.f.proto.class;
        self.class_before(&node.class).is_some_and(|info| {
            own != Some(info.index)
                && info
                    .variables
                    .get(&variable.name)
                    .is_some_and(|found| found.private)
        })
    }

    /// The global behind `ns::$name`, `Class::$name` that is written.
    pub(super) fn static_target(&mut self, node: &Static, span: Span) -> Option<(u32, Box<str>)> {
        let found = self.static_variable(node, span)?;
        if let Some(info) = self.class_before(&node.class)
            && self.f.proto.class != Some(info.index)
            && info
                .variables
                .get(&found.1)
                .is_some_and(|variable| variable.readonly && !variable.private)
        {
            self.at(span);
            let message = format!("{}::${} is read-only", info.name, found.1);
            let message = self.constant(Const::Str(message.into_bytes().into()));
            self.emit(Op::Fail, 0, 0, 0, message);
        }
        Some(found)
    }

    /// The global behind `ns::$name`, `Class::$name`.
    pub(super) fn static_variable(&mut self, node: &Static, span: Span) -> Option<(u32, Box<str>)> {
        let StaticMember::Variable(variable) = &node.member else {
            return None;
        };
        if let StaticClass::Name(name) = &node.class
            && let Some(module) = self.modules[self.module]
                .namespaces
                .get(&name.text)
                .copied()
        {
            let found = self.modules[module].variables.get(&variable.name).copied();
            if found.is_none() {
                let known: Vec<Box<str>> = self.modules[module].variables.keys().cloned().collect();
                let message = format!("the module has no `${}`", variable.name);
                self.unknown_member(variable.span, message, &variable.name, "$", &known);
            }
            return found.map(|global| (global, variable.name.clone()));
        }
        if let Some(info) = self.class_before(&node.class) {
            let Some(found) = info.variables.get(&variable.name).copied() else {
                let known: Vec<Box<str>> = info.variables.keys().cloned().collect();
                let message = format!(
                    "class `{}` has no static variable `${}`",
                    info.name, variable.name
                );
                self.unknown_member(variable.span, message, &variable.name, "$", &known);
                return None;
            };
            self.check_private(&info, &format!("${}", variable.name), found.private, span);
            return Some((found.global, variable.name.clone()));
        }
        self.unknown_class(&node.class);
        None
    }

    fn static_value(&mut self, node: &Static, span: Span, dst: u8) {
        if matches!(node.member, StaticMember::Name(_)) {
            if let Some(named) = self.static_named(node, span) {
                self.at(span);
                self.function_value(&named, dst);
            }
        } else if let Some((global, name)) = self.static_variable(node, span) {
            self.at(span);
            let name = self.name(&name);
            let cell = self.temp();
            self.emit(Op::Global, cell, 0, 0, global);
            self.emit(Op::LoadCell, dst, cell, 0, name);
        }
    }

    /// A function or class as a value.
    pub(super) fn function_value(&mut self, named: &Named, dst: u8) {
        let mark = self.mark();
        match named {
            Named::User(proto) => {
                self.emit(Op::LoadFunction, dst, 0, 0, *proto);
            }
            Named::Shared { global, .. } => {
                let name = self.globals[*global as usize].name.clone();
                let name = self.name(&name);
                let cell = self.temp();
                self.emit(Op::Global, cell, 0, 0, *global);
                self.emit(Op::LoadCell, dst, cell, 0, name);
            }
            Named::Builtin(Builtin::Function(index)) | Named::BuiltinStatic(index) => {
                self.emit(Op::LoadNative, dst, 0, 0, *index);
            }
            Named::Builtin(Builtin::Class(index)) => {
                self.emit(Op::LoadClass, dst, 0, 0, *index);
            }
            Named::Class(info) => {
                self.emit(Op::LoadUserClass, dst, 0, 0, info.index);
            }
        }
        self.reset(mark);
    }

    fn closure(&mut self, function: &ast::Function, dst: u8) {
        let Some(index) = self.compile_function(function, &function.captures, Role::Plain, &[])
        else {
            return;
        };
        self.at(function.keyword);
        let mut registers = Vec::with_capacity(function.captures.len());
        for capture in &function.captures {
            if let Some(variable) = self.f.variable(&capture.name) {
                registers.push(self.cell(variable));
            }
        }
        if registers.is_empty() {
            // Each evaluation makes a function of its own, captured variables or not.
            let site = self.closure_site(index, Vec::new());
            self.emit(Op::Closure, dst, 0, 0, site);
            return;
        }
        let site = self.closure_site(index, registers);
        self.emit(Op::Closure, dst, 0, 0, site);
    }

    // ---- Quiet reading -------------------------------------------------------------------------

    /// Reads an operand of `??`: what is missing gives none (or undefined) and raises nothing.
    pub(super) fn quiet_into(&mut self, expr: &Expr, dst: u8) {
        match &expr.kind {
            ExprKind::Variable(name) => self.quiet_variable(name, dst),
            ExprKind::Postfix(node)
                if matches!(node.base.kind, ExprKind::Variable(_) | ExprKind::Static(_))
                    && node
                        .links
                        .iter()
                        .all(|link| !matches!(link.kind, LinkKind::Call(_) | LinkKind::Append)) =>
            {
                self.quiet_into(&node.base, dst);
                self.quiet_links(&node.links, dst);
            }
            ExprKind::Static(node) if matches!(node.member, StaticMember::Variable(_)) => {
                if self.is_hidden(node) {
                    self.load(dst, Const::None);
                } else if let Some((global, _)) = self.static_variable(node, expr.span) {
                    let cell = self.temp();
                    self.emit(Op::Global, cell, 0, 0, global);
                    self.emit(Op::PeekCell, dst, cell, 0, 0);
                }
            }
            _ => self.expr_into(expr, dst),
        }
    }

    fn quiet_variable(&mut self, name: &str, dst: u8) {
        let Some(index) = self.f.variable(name) else {
            return;
        };
        match self.f.place(index) {
            Place::Register(register) => {
                self.emit(Op::Copy, dst, register, 0, 0);
            }
            _ => {
                let mark = self.mark();
                let cell = self.cell(index);
                self.emit(Op::PeekCell, dst, cell, 0, 0);
                self.reset(mark);
            }
        }
    }

    /// dst := dst with the links applied
    fn quiet_links(&mut self, links: &[ast::Link], dst: u8) {
        for link in links {
            let mark = self.mark();
            match &link.kind {
                LinkKind::Index(index) => {
                    let key = self.expr(index);
                    self.at(link.span);
                    self.emit(Op::Peek, dst, dst, key, 0);
                }
                LinkKind::Property(name) => {
                    self.at(link.span);
                    let name = self.constant(Const::Str(name.text.as_bytes().into()));
                    self.emit(Op::PeekProperty, dst, dst, 0, name);
                }
                LinkKind::Slice(slice) => {
                    let skip = self.emit(Op::JumpNone, dst, 0, 0, 0);
                    let parts = self.slice_parts(slice);
                    self.at(link.span);
                    self.emit(Op::Slice, dst, dst, parts, 0);
                    self.patch(skip);
                }
                LinkKind::Append | LinkKind::Call(_) => {}
            }
            self.reset(mark);
        }
    }

    fn isset(&mut self, target: &ast::Target, dst: u8) {
        self.at(target.span);
        match &target.kind {
            TargetKind::Variable(name) => {
                let Some(index) = self.f.variable(name) else {
                    return;
                };
                let cell = self.cell(index);
                self.emit(Op::IsSet, dst, cell, 0, 0);
            }
            TargetKind::Static(node) => {
                if self.is_hidden(node) {
                    self.load(dst, Const::Bool(false));
                } else if let Some((global, _)) = self.static_variable(node, target.span) {
                    self.emit(Op::Global, dst, 0, 0, global);
                    self.emit(Op::IsSet, dst, dst, 0, 0);
                }
            }
            TargetKind::Place(place) => {
                let Some((last, links)) = place.links.split_last() else {
                    return;
                };
                self.quiet_into(&place.base, dst);
                self.quiet_links(links, dst);
                match &last.kind {
                    LinkKind::Index(index) => {
                        let key = self.expr(index);
                        self.at(target.span);
                        self.emit(Op::IssetIndex, dst, dst, key, 0);
                    }
                    LinkKind::Property(name) => {
                        let name = self.constant(Const::Str(name.text.as_bytes().into()));
                        self.emit(Op::IssetProperty, dst, dst, 0, name);
                    }
                    LinkKind::Slice(_) => {
                        self.quiet_links(std::slice::from_ref(last), dst);
                        self.emit(Op::IsSet, dst, dst, 1, 0);
                    }
                    LinkKind::Append | LinkKind::Call(_) => {}
                }
            }
            TargetKind::Pattern(_) | TargetKind::Error => {}
        }
    }

    /// Three registers with the parts of a slice; none for a missing one.
    pub(super) fn slice_parts(&mut self, slice: &ast::Slice) -> u8 {
        let parts = [&slice.first, &slice.last, &slice.step];
        let registers: [u8; 3] = std::array::from_fn(|_| self.temp());
        for (part, register) in parts.into_iter().zip(registers) {
            match part {
                Some(part) => self.expr_into(part, register),
                None => self.load(register, Const::None),
            }
        }
        registers[0]
    }
}

/// The instruction for an operator with registers on both sides.
fn binary_op(op: BinaryOp) -> Op {
    match op {
        BinaryOp::Eq => Op::Eq,
        BinaryOp::NotEq => Op::Ne,
        BinaryOp::Same => Op::Same,
        BinaryOp::NotSame => Op::NotSame,
        BinaryOp::Matches => Op::Match,
        BinaryOp::NotMatches => Op::NoMatch,
        BinaryOp::Less => Op::Lt,
        BinaryOp::Greater => Op::Gt,
        BinaryOp::LessEq => Op::Le,
        BinaryOp::GreaterEq => Op::Ge,
        BinaryOp::BitOr => Op::BitOr,
        BinaryOp::BitXor => Op::BitXor,
        BinaryOp::BitAnd => Op::BitAnd,
        // Chains of `.` are joined by one instruction; a single one is a chain too.
        BinaryOp::Concat => Op::Append,
        BinaryOp::ShiftLeft => Op::Shl,
        BinaryOp::ShiftRight => Op::Shr,
        BinaryOp::ShiftRightZero => Op::UShr,
        BinaryOp::Add => Op::Add,
        BinaryOp::Sub => Op::Sub,
        BinaryOp::Mul => Op::Mul,
        BinaryOp::Div => Op::Div,
        BinaryOp::Rem => Op::Rem,
        BinaryOp::Pow => Op::Pow,
    }
}

/// A pattern given as a string: `/…/modifiers`, or the pattern itself (language.md 6.6).
fn split_pattern(text: &[u8]) -> (&[u8], &str) {
    if text.first() == Some(&b'/')
        && let Some(end) = text.iter().rposition(|byte| *byte == b'/')
        && end > 0
        && let Ok(modifiers) = std::str::from_utf8(&text[end + 1..])
        && modifiers.bytes().all(|byte| b"imsuxUX".contains(&byte))
    {
        return (&text[1..end], modifiers);
    }
    (text, "")
}

/// Whether evaluating `expr` may assign a variable of the function (other than by a call, which only changes
/// variables that live in cells).
pub(super) fn writes_variables(expr: &Expr) -> bool {
    any(expr, |expr| {
        matches!(
            expr.kind,
            ExprKind::Assign(_) | ExprKind::Step(_) | ExprKind::Unset(_)
        )
    })
}

/// Whether evaluating `expr` may read the variable `name`; what it assigns counts too.
pub(super) fn mentions(expr: &Expr, name: &str) -> bool {
    any(expr, |expr| match &expr.kind {
        ExprKind::Variable(other) => **other == *name,
        ExprKind::Template(parts) => parts.iter().any(
            |part| matches!(part, TemplatePart::Variable(variable) if *variable.name == *name),
        ),
        ExprKind::Assign(_)
        | ExprKind::Step(_)
        | ExprKind::Unset(_)
        | ExprKind::Isset(_)
        | ExprKind::Cache(_) => true,
        _ => false,
    })
}

/// Whether `test` holds for `expr` or an expression in it, nested functions and targets left out.
fn any(expr: &Expr, test: impl Fn(&Expr) -> bool) -> bool {
    let mut pending = vec![expr];
    while let Some(expr) = pending.pop() {
        if test(expr) {
            return true;
        }
        match &expr.kind {
            ExprKind::Array(elements) => {
                for element in elements {
                    match element {
                        Element::Value(value) => pending.push(value),
                        Element::Spread(spread) => pending.push(&spread.value),
                        Element::Pair(pair) => pending.extend([&pair.key, &pair.value]),
                    }
                }
            }
            ExprKind::Cache(node) => pending.extend(node.args.iter().map(|arg| &arg.value)),
            ExprKind::Match(node) => {
                pending.push(&node.subject);
                for arm in &node.arms {
                    pending.extend(arm.patterns.iter().chain([&arm.value]));
                }
            }
            ExprKind::Unary(node) => pending.push(&node.operand),
            ExprKind::Binary(chain) => {
                pending.push(&chain.first);
                pending.extend(chain.rest.iter().map(|link| &link.operand));
            }
            ExprKind::Logic(chain) => {
                pending.push(&chain.first);
                pending.extend(chain.rest.iter().map(|link| &link.operand));
            }
            ExprKind::Coalesce(chain) => {
                pending.push(&chain.first);
                pending.extend(chain.rest.iter().map(|link| &link.operand));
            }
            ExprKind::Ternary(node) => {
                for arm in &node.arms {
                    pending.push(&arm.condition);
                    pending.extend(&arm.then);
                }
                pending.push(&node.otherwise);
            }
            ExprKind::Postfix(node) => {
                pending.push(&node.base);
                pending.extend(node.links.iter().flat_map(link_exprs));
            }
            ExprKind::Isset(target) => {
                if let TargetKind::Place(place) = &target.kind {
                    pending.extend(place.links.iter().flat_map(link_exprs));
                }
            }
            _ => {}
        }
    }
    false
}

/// The expressions inside a postfix operator.
pub(super) fn link_exprs(link: &ast::Link) -> Vec<&Expr> {
    match &link.kind {
        LinkKind::Append | LinkKind::Property(_) => Vec::new(),
        LinkKind::Index(index) => vec![index],
        LinkKind::Slice(slice) => slice
            .first
            .iter()
            .chain(&slice.last)
            .chain(&slice.step)
            .collect(),
        LinkKind::Call(args) => args.iter().map(|arg| &arg.value).collect(),
    }
}
