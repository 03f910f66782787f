//! Reading what may be missing: `??`, `isset`.

use angarium_syntax::ast::{self, Expr, ExprKind, LinkKind, StaticMember, TargetKind};

use crate::bytecode::{Const, Op};
use crate::compile::Compiler;
use crate::compile::code::Place;
use crate::compile::effects::writes_variables;

impl Compiler<'_> {
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
                let base = self.quiet_base(&node.base, &node.links, dst);
                self.quiet_links(&node.links, base, dst);
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

    pub(super) fn quiet_variable(&mut self, name: &str, dst: u8) {
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

    /// The register that `links` begin at: that of a variable where they leave it as it is, or else dst.
    fn quiet_base(&mut self, base: &Expr, links: &[ast::Link], dst: u8) -> u8 {
        if !self.plain
            && let ExprKind::Variable(name) = &base.kind
            && let [first, ..] = links
            && let LinkKind::Index(key) = &first.kind
            && !writes_variables(key)
            && let Some(index) = self.f.variable(name)
            && let Place::Register(register) = self.f.place(index)
        {
            return register;
        }
        self.quiet_into(base, dst);
        dst
    }

    /// dst := base with the links applied
    pub(super) fn quiet_links(&mut self, links: &[ast::Link], base: u8, dst: u8) {
        let mut base = base;
        for link in links {
            let from = std::mem::replace(&mut base, dst);
            let mark = self.mark();
            match &link.kind {
                LinkKind::Index(index) => {
                    let key = self.expr(index);
                    self.at(link.span);
                    self.emit(Op::Peek, dst, from, key, 0);
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

    pub(super) fn isset(&mut self, target: &ast::Target, dst: u8) {
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
                let base = self.quiet_base(&place.base, &place.links, dst);
                self.quiet_links(links, base, dst);
                let base = if links.is_empty() { base } else { dst };
                match &last.kind {
                    LinkKind::Index(index) => {
                        let key = self.expr(index);
                        self.at(target.span);
                        self.emit(Op::IssetIndex, dst, base, key, 0);
                    }
                    LinkKind::Property(name) => {
                        let name = self.constant(Const::Str(name.text.as_bytes().into()));
                        self.emit(Op::IssetProperty, dst, dst, 0, name);
                    }
                    LinkKind::Slice(_) => {
                        self.quiet_links(std::slice::from_ref(last), dst, dst);
                        self.emit(Op::IsSet, dst, dst, 1, 0);
                    }
                    LinkKind::Append | LinkKind::Call(_) => {}
                }
            }
            TargetKind::Pattern(_) | TargetKind::Error => {}
        }
    }
}
