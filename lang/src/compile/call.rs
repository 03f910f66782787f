//! Calls and the other postfix operators.

use angarium_syntax::ast::{
    Arg, Cache, CacheCallee, Element, Expr, ExprKind, Link, LinkKind, Postfix, Static, StaticClass,
    StaticMember,
};

use crate::Span;
use crate::builtins::Builtin;
use crate::bytecode::{Const, Op, Step};
use crate::compile::code::{Place, int};
use crate::compile::effects::writes_variables;
use crate::compile::expr::Operand;
use crate::compile::{Compiler, Named, arity_message};

/// The options of `cache` (language.md 15.1).
const CACHE_OPTIONS: [&str; 10] = [
    "ttl",
    "ttl_override",
    "ttl_function",
    "update_function",
    "argv_filter",
    "force",
    "size",
    "namespace",
    "per_message",
    "lru",
];

/// Most arguments that go in registers; more go in a list.
const MAX_ARGUMENTS: usize = 60;

impl Compiler<'_> {
    /// dst := base with its links applied
    pub(super) fn postfix(&mut self, node: &Postfix, dst: u8) {
        self.postfix_links(&node.base, &node.links, dst);
    }

    /// dst := base with links applied
    pub(super) fn postfix_links(&mut self, base: &Expr, links: &[Link], dst: u8) {
        let entry = self.mark();
        // A temporary that was made for the result alone may take the intermediate values too.
        if self.is_temp(dst) && usize::from(dst) + 1 == self.mark() {
            self.reset(usize::from(dst));
        }
        let mark = self.mark();
        let mut links = links;
        let known = match (&base.kind, links.first().map(|link| &link.kind)) {
            (ExprKind::Name(name), Some(LinkKind::Call(_))) => {
                let Some(named) = self.named(name, base.span) else {
                    self.check_arguments(links);
                    return;
                };
                Some((named, name.clone()))
            }
            (ExprKind::Builtin(name), Some(LinkKind::Call(_))) => {
                let Some(named) = self.builtin(name) else {
                    return;
                };
                Some((named, name.text.clone()))
            }
            (ExprKind::Static(node_static), Some(LinkKind::Call(_)))
                if matches!(node_static.member, StaticMember::Name(_)) =>
            {
                let Some(named) = self.static_named(node_static, base.span) else {
                    return;
                };
                let StaticMember::Name(name) = &node_static.member else {
                    return;
                };
                Some((named, name.text.clone()))
            }
            _ => None,
        };
        let mut current = match known {
            Some((named, name)) => {
                let Some((call, rest)) = links.split_first() else {
                    return;
                };
                links = rest;
                let LinkKind::Call(args) = &call.kind else {
                    return;
                };
                if links.is_empty() && self.length(&named, &name, args, base.span, dst) {
                    self.reset(entry);
                    return;
                }
                self.call_known(&named, &name, args, base.span)
            }
            None => {
                let later: Vec<&Expr> = links.iter().flat_map(super::effects::link_exprs).collect();
                let operand = self.operand(base, &later);
                self.in_register(operand)
            }
        };
        let shortened = self.shorten_path(base, links, dst, current);
        let mut at = 0;
        while let Some(link) = links.get(at) {
            let last = at + 1 == links.len();
            if let (LinkKind::Property(name), Some(LinkKind::Call(args))) =
                (&link.kind, links.get(at + 1).map(|link| &link.kind))
            {
                self.note_method_call(name, args);
                current =
                    self.call_method(current, &name.text, args, link.span.to(name.span), mark);
                at += 2;
                continue;
            }
            if let LinkKind::Call(args) = &link.kind {
                current = self.call_value(current, args, link.span, mark);
                at += 1;
                continue;
            }
            let target = if last {
                dst
            } else if usize::from(current) >= mark {
                current
            } else {
                self.temp()
            };
            self.link(link, target, current);
            if !last {
                self.reset(usize::from(target) + 1);
            }
            current = target;
            at += 1;
        }
        if current != dst && !self.leads_to(current, dst) {
            let op = if usize::from(current) >= mark {
                Op::Move
            } else {
                Op::Copy
            };
            self.emit(op, dst, current, 0, 0);
        }
        if let Some(start) = shortened {
            let skipped = self.f.proto.code.len() - start - 1;
            if let Some(short) = self.f.proto.code.get_mut(start) {
                short.c = u8::try_from(skipped).unwrap_or(0);
            }
        }
        self.reset(entry);
    }

    /// Begins to read an element of an element with one instruction, if the keys are constants and variables; the
    /// instructions that find it step by step are to follow.
    fn shorten_path(&mut self, base: &Expr, links: &[Link], dst: u8, current: u8) -> Option<usize> {
        const MOST: usize = 8;
        let ExprKind::Variable(_) = base.kind else {
            return None;
        };
        if self.plain || self.is_temp(current) || !(2..=MOST).contains(&links.len()) {
            return None;
        }
        let keys: Vec<&Expr> = links
            .iter()
            .map(|link| match &link.kind {
                LinkKind::Index(key) => Some(key),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let mut steps = Vec::new();
        for key in keys {
            steps.push(match &key.kind {
                ExprKind::Variable(name) => {
                    let index = self.f.variable(name)?;
                    match self.f.place(index) {
                        Place::Register(register) if self.f.is_defined(index) => {
                            Step::Key(register)
                        }
                        _ => return None,
                    }
                }
                _ => {
                    let key = self.known(key)?;
                    Step::Const(self.constant(key))
                }
            });
        }
        let path = self.path(steps);
        self.at(links.first()?.span);
        Some(self.emit(Op::GetPath, dst, current, 0, path))
    }

    /// Lets the call of a built-in that was just emitted write its result to dst.
    fn leads_to(&mut self, current: u8, dst: u8) -> bool {
        match self.f.proto.code.last_mut() {
            Some(call) if call.op == Op::CallNative && call.c == current && !self.plain => {
                call.c = dst;
                true
            }
            _ => false,
        }
    }

    /// dst := base with one index, slice or property applied
    fn link(&mut self, link: &Link, dst: u8, base: u8) {
        match &link.kind {
            LinkKind::Append => self.error(link.span, "cannot read `[]`", None),
            LinkKind::Index(index) => match self.operand(index, &[]) {
                Operand::Const(Const::Number(number)) if int(number).is_some() => {
                    self.at(link.span);
                    self.emit(Op::IndexI, dst, base, 0, int(number).unwrap_or(0) as u32);
                }
                Operand::Const(key) => {
                    self.at(link.span);
                    let key = self.constant(key);
                    self.emit(Op::IndexK, dst, base, 0, key);
                }
                Operand::Register(key) => {
                    self.at(link.span);
                    self.emit(Op::Index, dst, base, key, 0);
                }
            },
            LinkKind::Slice(slice) => {
                let parts = self.slice_parts(slice);
                self.at(link.span);
                self.emit(Op::Slice, dst, base, parts, 0);
            }
            LinkKind::Property(name) => {
                self.at(link.span);
                let name = self.constant(Const::Str(name.text.as_bytes().into()));
                self.emit(Op::Property, dst, base, 0, name);
            }
            LinkKind::Call(_) => {}
        }
    }

    /// Calls a function that is known by name; its result is in the register that is given.
    fn call_known(&mut self, named: &Named, name: &str, args: &[Arg], span: Span) -> u8 {
        let spread = args.iter().any(|arg| arg.spread.is_some());
        let arity = self.arity(named);
        // A session's function may be defined anew with other parameters: it is checked when it is called.
        if !spread && !matches!(named, Named::Shared { .. }) && !arity.fits(args.len()) {
            let message =
                arity_message(&format!("{name}()"), arity.required, arity.most, args.len());
            self.error(span, message, None);
        }
        if let Named::Builtin(builtin) = named
            && !spread
        {
            self.warn_options(*builtin, name, args);
        }
        if spread || args.len() > MAX_ARGUMENTS || matches!(named, Named::Shared { .. }) {
            let callee = self.temp();
            self.at(span);
            self.function_value(named, callee);
            return self.call_in_place(callee, args, span);
        }
        if let Named::Class(info) = named {
            let object = self.temp();
            if !args.is_empty() {
                self.arguments(args);
            }
            self.at(span);
            self.emit(Op::NewObject, object, args.len() as u8, 0, info.index);
            self.reset(usize::from(object) + 1);
            return object;
        }
        let first = self.arguments(args);
        self.at(span);
        let count = args.len() as u8;
        match named {
            Named::User(proto) => self.emit(Op::Call, first, count, 0, *proto),
            Named::Builtin(Builtin::Function(index)) | Named::BuiltinStatic(index) => {
                self.emit(Op::CallNative, first, count, first, *index)
            }
            Named::Builtin(Builtin::Class(index)) => self.emit(Op::New, first, count, 0, *index),
            Named::Shared { .. } | Named::Class(_) => 0,
        };
        self.reset(usize::from(first) + 1);
        first
    }

    /// dst := the length of something, when that is what the call asks for: the commonest of all calls
    fn length(&mut self, named: &Named, name: &str, args: &[Arg], span: Span, dst: u8) -> bool {
        let (Named::Builtin(Builtin::Function(index)), "length", [arg]) = (named, name, args)
        else {
            return false;
        };
        if self.plain || arg.spread.is_some() {
            return false;
        }
        let subject = self.expr(&arg.value);
        self.at(span);
        self.emit(Op::Length, dst, subject, 0, *index);
        true
    }

    /// `cache [options] f(args)`
    pub(super) fn cache(&mut self, node: &Cache, span: Span, dst: u8) {
        for element in &node.options {
            if let Element::Pair(pair) = element
                && let Some(Const::Str(name)) = crate::fold::fold(&pair.key)
                && !CACHE_OPTIONS
                    .iter()
                    .any(|option| option.as_bytes() == &*name)
            {
                let name = String::from_utf8_lossy(&name).into_owned();
                let hint = crate::suggest::nearest(&name, CACHE_OPTIONS.into_iter());
                let hint = hint.map(|near| format!("did you mean `{near}`?"));
                self.error(
                    pair.key.span,
                    format!("`cache` has no option `{name}`"),
                    hint,
                );
            }
        }
        let (named, name) = match &node.callee {
            CacheCallee::Name(name) => (self.named(&name.text, name.span), name),
            CacheCallee::Builtin(name) => (self.builtin(name), name),
            CacheCallee::Static { class, name } => {
                let member = StaticMember::Name(name.clone());
                (
                    self.static_named(
                        &Static {
                            class: class.clone(),
                            member,
                        },
                        span,
                    ),
                    name,
                )
            }
        };
        let Some(named) = named else { return };
        let spread = node.args.iter().any(|arg| arg.spread.is_some());
        let arity = self.arity(&named);
        if !spread && !matches!(named, Named::Shared { .. }) && !arity.fits(node.args.len()) {
            let message = arity_message(
                &format!("{}()", name.text),
                arity.required,
                arity.most,
                node.args.len(),
            );
            self.error(name.span, message, None);
        }
        // The cache is known by where the function comes from and what it is called.
        let origin = match &named {
            Named::Builtin(_) | Named::BuiltinStatic(_) => "builtin".to_owned(),
            _ => self.origin(&named),
        };
        let class = match &node.callee {
            CacheCallee::Static {
                class: StaticClass::Name(class),
                ..
            } => format!("{}::", class.text),
            CacheCallee::Static { .. } => {
                let class = self.class.as_ref();
                class.map_or_else(String::new, |class| format!("{}::", class.name))
            }
            _ => String::new(),
        };
        let identity = format!("{origin}\0{class}{}", name.text);
        let callee = self.temp();
        self.at(span);
        self.function_value(&named, callee);
        let options = self.temp();
        self.at(node.options_span);
        self.array(&node.options, options);
        self.argument_list(&node.args);
        let identity = self.constant(Const::Str(identity.into_bytes().into()));
        self.at(span);
        self.emit(Op::Cached, callee, 0, 0, identity);
        self.emit(Op::Move, dst, callee, 0, 0);
    }

    /// Evaluates arguments into new registers, one after the other; gives the first one, which is there in any case.
    fn arguments(&mut self, args: &[Arg]) -> u8 {
        let mut copied = false;
        let first = self.temp();
        for (at, arg) in args.iter().enumerate() {
            let register = if at == 0 { first } else { self.temp() };
            let before = self.f.proto.code.len();
            self.expr_into(&arg.value, register);
            let plain_copy = matches!(arg.value.kind, ExprKind::Variable(_))
                && matches!(self.f.proto.code.get(before..), Some([copy]) if copy.op == Op::Copy);
            copied = plain_copy && !(copied && self.join_copies());
        }
        first
    }

    /// Makes one of the last two instructions, which copy to neighbouring registers. No jump leads between them.
    fn join_copies(&mut self) -> bool {
        let code = &mut self.f.proto.code;
        let [.., first, second] = code.as_mut_slice() else {
            return false;
        };
        if self.plain || first.a.checked_add(1) != Some(second.a) {
            return false;
        }
        (first.op, first.c) = (Op::CopyTwo, second.b);
        code.pop();
        let end = code.len();
        if matches!(self.f.proto.places.last(), Some((at, _)) if *at as usize == end) {
            self.f.proto.places.pop();
        }
        true
    }

    /// Calls the function value in `callee`, the last register in use; the result takes its place.
    fn call_in_place(&mut self, callee: u8, args: &[Arg], span: Span) -> u8 {
        if args.len() <= MAX_ARGUMENTS && args.iter().all(|arg| arg.spread.is_none()) {
            if !args.is_empty() {
                self.arguments(args);
            }
            self.at(span);
            self.emit(Op::CallValue, callee, args.len() as u8, 0, 0);
        } else {
            let list = self.argument_list(args);
            self.at(span);
            self.emit(Op::CallSpread, callee, 0, 0, 0);
            self.free(list);
        }
        self.reset(usize::from(callee) + 1);
        callee
    }

    /// A list of the arguments in a new register.
    fn argument_list(&mut self, args: &[Arg]) -> u8 {
        let list = self.temp();
        self.emit(Op::NewArray, list, 0, 0, args.len().min(1 << 16) as u32);
        for arg in args {
            let register = self.temp();
            self.expr_into(&arg.value, register);
            match arg.spread {
                Some(dots) => {
                    self.at(dots);
                    self.emit(Op::SpreadArgs, list, register, 0, 0);
                }
                None => {
                    self.emit(Op::MovePush, list, register, 0, 0);
                }
            }
            self.free(register);
        }
        list
    }

    fn call_value(&mut self, callee: u8, args: &[Arg], span: Span, mark: usize) -> u8 {
        let callee = self.on_top(callee, mark);
        self.call_in_place(callee, args, span)
    }

    fn call_method(&mut self, object: u8, name: &str, args: &[Arg], span: Span, mark: usize) -> u8 {
        let constant = self.constant(Const::Str(name.as_bytes().into()));
        let unusual = args.len() > MAX_ARGUMENTS || args.iter().any(|arg| arg.spread.is_some());
        // A variable is looked at where it is: nothing in the arguments changes it.
        let (object, receiver) = if unusual || self.plain || self.is_temp(object) {
            let object = self.on_top(object, mark);
            (object, object)
        } else {
            (self.temp(), object)
        };
        if unusual {
            self.at(span);
            self.emit(Op::Property, object, object, 0, constant);
            return self.call_in_place(object, args, span);
        }
        if !args.is_empty() {
            self.arguments(args);
        }
        self.at(span);
        self.emit(Op::CallMethod, object, args.len() as u8, receiver, constant);
        self.reset(usize::from(object) + 1);
        object
    }

    /// The value of `register` in the last temporary in use.
    fn on_top(&mut self, register: u8, mark: usize) -> u8 {
        if usize::from(register) >= mark && usize::from(register) + 1 == self.mark() {
            return register;
        }
        let copy = self.temp();
        let op = if usize::from(register) >= mark {
            Op::Move
        } else {
            Op::Copy
        };
        self.emit(op, copy, register, 0, 0);
        copy
    }

    /// Finds the errors in the arguments of a call that is not compiled.
    fn check_arguments(&mut self, links: &[Link]) {
        let mark = self.mark();
        for expr in links.iter().flat_map(super::effects::link_exprs) {
            self.expr(expr);
            self.reset(mark);
        }
    }

    /// The variable that a call may take over from its owner: `$v = f($v)`, `return f($v)`.
    ///
    /// The value is moved into the call, so that the callee may change it in place. Only a register that is read
    /// nowhere else in the call will do, and no `try` may see the variable after a throw.
    pub(super) fn let_die(&mut self, name: &str, call: &Expr) -> Option<u8> {
        if self.plain || self.f.tries > 0 || self.f.top && self.session.is_some() {
            return None;
        }
        let ExprKind::Postfix(node) = &call.kind else {
            return None;
        };
        let [
            Link {
                kind: LinkKind::Call(args),
                ..
            },
        ] = node.links.as_slice()
        else {
            return None;
        };
        if !matches!(node.base.kind, ExprKind::Name(_) | ExprKind::Builtin(_)) {
            return None;
        }
        let index = self.f.variable(name)?;
        let Place::Register(register) = self.f.place(index) else {
            return None;
        };
        let mut direct = 0;
        for arg in args {
            match &arg.value.kind {
                ExprKind::Variable(other) if **other == *name && arg.spread.is_none() => {
                    direct += 1
                }
                _ if super::effects::mentions(&arg.value, name) => return None,
                _ => {}
            }
            if writes_variables(&arg.value) {
                return None;
            }
        }
        (direct == 1).then_some(register)
    }
}
