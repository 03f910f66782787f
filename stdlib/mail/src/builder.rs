//! New messages and parts: what the script class `MIME` stands on (RFC 2045, 2046, 2183, 2231, 5322).
//!
//! A [`Mime`] is a handle on a part that is being put together; parts are held by reference, so that a part can still be
//! changed after it was appended. [`Mime::plan`] takes everything as it is then, and [`Plan::render`] writes
//! it, on any thread.
//!
//! Whatever names, types and values are given, the result has the fields and parts that were asked for and no others.

use crate::{
    body::{self, Encoding, Nature},
    content_type::ContentType,
    date,
    field::{self, NameError, ValueForm},
    header::{self, LineEnd},
    ident,
};
use mail_builder::headers::{Header as _, content_type::ContentType as Parameters};
use memchr::memmem;
use std::{any::Any, cell::RefCell, rc::Rc, sync::Arc};

/// Parts in a message at most, as many as the parser takes.
pub const MAX_PARTS: usize = 10_000;
/// Levels of multiparts at most, as many as the parser opens.
pub const MAX_DEPTH: usize = 100;
/// Bytes of all bodies and fields of one message at most.
pub const MAX_BODIES: usize = 256 * 1024 * 1024;

/// Something that cannot be put into a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A header name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A media type.
    #[error("{0:?} is not a media type")]
    Type(String),
    /// A boundary.
    #[error("{0:?} is not a boundary: 1 to 70 letters, digits and '()+_,-./:=? are, spaces inside")]
    Boundary(String),
    /// A boundary that the content holds as a line.
    #[error("the content holds a line that is the boundary {0:?}")]
    BoundaryInside(String),
    /// A part with parts whose type is no multipart.
    #[error("a part of the type {0} cannot hold parts: a multipart can")]
    NotMultipart(String),
    /// A disposition.
    #[error("{0:?} is not a disposition")]
    Disposition(String),
    /// A part that would hold itself.
    #[error("a part cannot hold itself")]
    Cycle,
    /// More than [`MAX_PARTS`].
    #[error("more than {MAX_PARTS} parts")]
    Parts,
    /// More than [`MAX_DEPTH`].
    #[error("more than {MAX_DEPTH} levels of parts")]
    Depth,
    /// More than [`MAX_BODIES`].
    #[error("more than {MAX_BODIES} bytes")]
    Size,
}

/// A part that is being put together. Clones are the same part.
#[derive(Debug, Clone, Default)]
pub struct Mime(Rc<Node>);

#[derive(Debug, Default)]
struct Node {
    own: RefCell<Own>,
    children: RefCell<Vec<Mime>>,
    /// What has to live as long as the part.
    kept: RefCell<Option<Rc<dyn Any>>>,
}

/// What a part has besides its children.
#[derive(Debug, Clone, Default)]
struct Own {
    fields: Vec<Given>,
    kind: Option<Kind>,
    boundary: Option<String>,
    body: Option<Arc<[u8]>>,
    disposition: Option<String>,
    file_name: Option<String>,
    /// Bytes of the fields.
    field_bytes: usize,
}

/// A field as it was given.
#[derive(Debug, Clone)]
struct Given {
    name: Arc<[u8]>,
    value: Arc<[u8]>,
    form: ValueForm,
}

/// A media type: as it was given, and without parameters in lower case.
#[derive(Debug, Clone)]
struct Kind {
    text: String,
    essence: String,
}

impl Drop for Node {
    /// Takes long chains of parts apart without recursion.
    fn drop(&mut self) {
        let mut rest = std::mem::take(self.children.get_mut());
        while let Some(Mime(node)) = rest.pop() {
            if let Ok(mut node) = Rc::try_unwrap(node) {
                rest.append(node.children.get_mut());
            }
        }
    }
}

impl Mime {
    /// A text part without a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field below those that were added before (`addHeader`).
    ///
    /// # Errors
    /// For a name that cannot be written.
    pub fn add_header(&self, name: &[u8], value: &[u8], form: ValueForm) -> Result<(), BuildError> {
        field::check_name(name)?;
        let mut own = self.0.own.borrow_mut();
        let size = name.len().saturating_add(value.len());
        let size = size.saturating_add(size_of::<Given>());
        own.field_bytes = own.field_bytes.saturating_add(size);
        own.fields.push(Given {
            name: name.into(),
            value: value.into(),
            form,
        });
        Ok(())
    }

    /// Adds a part after those that were added before (`appendPart`). Gives how many parts were looked at.
    ///
    /// # Errors
    /// [`BuildError::Cycle`]; [`BuildError::Parts`] when that cannot be found out.
    pub fn append(&self, part: &Self) -> Result<usize, BuildError> {
        let mut pending = vec![part.clone()];
        let mut seen = std::collections::HashSet::new();
        while let Some(next) = pending.pop() {
            if Rc::ptr_eq(&next.0, &self.0) {
                return Err(BuildError::Cycle);
            }
            if seen.len() > MAX_PARTS {
                return Err(BuildError::Parts);
            }
            if seen.insert(Rc::as_ptr(&next.0)) {
                pending.extend(next.0.children.borrow().iter().cloned());
            }
        }
        let mut children = self.0.children.borrow_mut();
        if children.len() >= MAX_PARTS {
            return Err(BuildError::Parts);
        }
        children.push(part.clone());
        Ok(seen.len())
    }

    /// Parts directly below.
    #[must_use]
    pub fn children(&self) -> usize {
        self.0.children.borrow().len()
    }

    /// Sets the body, or the preamble of a part that has parts (`setBody`).
    pub fn set_body(&self, body: &[u8]) {
        self.0.own.borrow_mut().body = Some(body.into());
    }

    /// Sets the type, with parameters if need be (`setType`).
    ///
    /// # Errors
    /// [`BuildError::Type`].
    pub fn set_type(&self, kind: &[u8]) -> Result<(), BuildError> {
        let refused = || BuildError::Type(String::from_utf8_lossy(kind).into_owned());
        let essence = ContentType::parse(kind);
        let (main, sub) = essence.type_and_subtype().ok_or_else(refused)?;
        let is_token = |text: &str| text.bytes().all(is_token_byte);
        let written = kind.trim_ascii();
        let plain = written.iter().all(|b| matches!(b, b' '..=b'~' | b'\t'));
        let first = written.split(|&b| b == b';').next().unwrap_or_default();
        let plain = plain
            && first
                .trim_ascii()
                .eq_ignore_ascii_case(essence.value.as_bytes());
        if !is_token(main) || !is_token(sub) || !plain {
            return Err(refused());
        }
        self.0.own.borrow_mut().kind = Some(Kind {
            text: String::from_utf8_lossy(written)
                .trim_end_matches([';', ' ', '\t'])
                .to_owned(),
            essence: essence.value,
        });
        Ok(())
    }

    /// Sets the boundary of a multipart (`setBoundary`).
    ///
    /// # Errors
    /// [`BuildError::Boundary`] (RFC 2046 §5.1.1).
    pub fn set_boundary(&self, boundary: &[u8]) -> Result<(), BuildError> {
        let text = String::from_utf8_lossy(boundary).into_owned();
        let legal = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b);
        if !(1..=70).contains(&boundary.len())
            || !boundary.iter().all(legal)
            || boundary.ends_with(b" ")
        {
            return Err(BuildError::Boundary(text));
        }
        self.0.own.borrow_mut().boundary = Some(text);
        Ok(())
    }

    /// Sets the Date field to a time in Unix seconds (`setDate`): where it stands, or below the others.
    pub fn set_date(&self, unix: i64) {
        let value: Arc<[u8]> = date::format_utc(unix).into_bytes().into();
        let fields = &mut self.0.own.borrow_mut().fields;
        let name = b"Date".as_slice();
        match fields
            .iter_mut()
            .find(|f| f.name.eq_ignore_ascii_case(name))
        {
            Some(field) => {
                field.value = value;
                field.form = ValueForm::default();
            }
            None => fields.push(Given {
                name: name.into(),
                value,
                form: ValueForm::default(),
            }),
        }
    }

    /// Sets the file name (`setFileName`); a control character becomes a space.
    pub fn set_file_name(&self, name: &[u8]) {
        let name = crate::charset::header_text(name, None);
        let clean = name.chars().map(|c| if c.is_control() { ' ' } else { c });
        self.0.own.borrow_mut().file_name = Some(clean.collect());
    }

    /// Sets the disposition (`setDisposition`): `inline`, `attachment`.
    ///
    /// # Errors
    /// [`BuildError::Disposition`].
    pub fn set_disposition(&self, kind: &[u8]) -> Result<(), BuildError> {
        let text = String::from_utf8_lossy(kind).into_owned();
        if kind.is_empty() || !kind.iter().copied().all(is_token_byte) {
            return Err(BuildError::Disposition(text));
        }
        self.0.own.borrow_mut().disposition = Some(text);
        Ok(())
    }

    /// Bytes that the part itself holds, for the script's memory budget.
    #[must_use]
    pub fn held(&self) -> usize {
        let own = self.0.own.borrow();
        let body = own.body.as_ref().map_or(0, |body| body.len());
        let children = self.0.children.borrow().len() * size_of::<Self>();
        own.field_bytes
            .saturating_add(body)
            .saturating_add(children)
            .saturating_add(size_of::<Node>())
    }

    /// How many fields were added: what looking for one costs.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.0.own.borrow().fields.len()
    }

    /// Keeps something alive as long as the part, in place of what was kept before: the count of its memory.
    pub fn keep(&self, value: Rc<dyn Any>) {
        *self.0.kept.borrow_mut() = Some(value);
    }

    /// Takes the part as it is now, with all that is below it.
    ///
    /// # Errors
    /// [`BuildError::Parts`], [`BuildError::Depth`], [`BuildError::Size`].
    pub fn plan(&self) -> Result<Plan, BuildError> {
        let mut entities: Vec<Entity> = Vec::new();
        let mut pending = vec![(self.clone(), 0, None)];
        let mut size = 0_usize;
        while let Some((Mime(node), depth, parent)) = pending.pop() {
            if entities.len() >= MAX_PARTS {
                return Err(BuildError::Parts);
            }
            if depth > MAX_DEPTH {
                return Err(BuildError::Depth);
            }
            let own = node.own.borrow().clone();
            size = size.saturating_add(own.body.as_ref().map_or(0, |body| body.len()));
            size = size.saturating_add(own.field_bytes);
            if size > MAX_BODIES {
                return Err(BuildError::Size);
            }
            let children = node.children.borrow();
            let index = entities.len();
            entities.push(Entity {
                own,
                depth,
                parent,
                children: children.len(),
            });
            let below = children.iter().rev();
            pending.extend(below.map(|child| (child.clone(), depth + 1, Some(index))));
        }
        Ok(Plan {
            entities,
            size,
            missing: Vec::new(),
        })
    }
}

/// The bytes of a token (RFC 2045 §5.1).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}

/// A part and all that is below it, as they were at one moment.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In document order.
    entities: Vec<Entity>,
    size: usize,
    /// Fields that the outermost part gets unless it has them.
    missing: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone)]
struct Entity {
    own: Own,
    depth: usize,
    parent: Option<usize>,
    children: usize,
}

/// How a part is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// As a message: with MIME-Version.
    Message,
    /// As a part of another message.
    Part,
}

/// What is found out of an entity before anything is written.
#[derive(Clone)]
struct Shape {
    nature: Nature,
    /// The type, in lower case.
    essence: String,
    /// A leaf's transfer encoding.
    encoding: Encoding,
    /// There is a field that says the encoding.
    encoding_given: bool,
    /// It holds bytes above 127 as they are.
    eight_bit: bool,
    /// It holds data that is no lines.
    binary: bool,
    boundary: Option<String>,
}

impl Plan {
    /// Bytes of all bodies and fields: what writing costs.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds a field to the outermost part when it is written, unless it has one of that name.
    pub fn if_missing(&mut self, name: &'static str, value: String) {
        self.missing.push((name, value));
    }

    /// Writes the part. `random` makes the boundaries.
    ///
    /// # Errors
    /// [`BuildError::BoundaryInside`], [`BuildError::NotMultipart`].
    pub fn render(
        &self,
        role: Role,
        random: &[u8; 16],
        eol: LineEnd,
    ) -> Result<Vec<u8>, BuildError> {
        let shapes = self.shapes(random)?;
        let mut out = Vec::with_capacity(self.size.saturating_add(self.entities.len() * 128));
        // The multiparts that are open: boundary and where their first part begins.
        let mut open: Vec<Open> = Vec::new();
        for (index, (entity, shape)) in self.entities.iter().zip(&shapes).enumerate() {
            while open.len() > entity.depth {
                close(&mut open, &mut out, eol)?;
            }
            if let Some(around) = open.last_mut() {
                around.delimiter(&mut out, eol);
            }
            let outermost = index == 0;
            self.header(entity, shape, outermost, role, eol, &mut out);
            out.extend_from_slice(eol.as_bytes());
            let body = entity.own.body.as_deref();
            match &shape.boundary {
                Some(boundary) if entity.children > 0 || body.is_none() => {
                    let from = out.len();
                    if let Some(preamble) = body {
                        out.extend(body::with_line_ends(preamble, eol));
                        out.extend_from_slice(eol.as_bytes());
                    }
                    open.push(Open {
                        boundary: boundary.clone(),
                        from,
                        delimiters: 0,
                    });
                }
                _ => {
                    let body = body.unwrap_or_default();
                    let write = match shape.encoding_given {
                        true => body::encode_unless_encoded,
                        false => body::encode,
                    };
                    out.extend(write(body, shape.encoding, shape.nature, eol));
                }
            }
        }
        let is_multipart = !open.is_empty();
        while !open.is_empty() {
            close(&mut open, &mut out, eol)?;
        }
        let first = shapes.first();
        let encoded = first.is_some_and(|shape| shape.encoding == Encoding::Base64);
        if role == Role::Message && (is_multipart || encoded) && !out.ends_with(eol.as_bytes()) {
            out.extend_from_slice(eol.as_bytes());
        }
        Ok(out)
    }

    /// Looks at all entities; what is inside a multipart counts for it.
    fn shapes(&self, random: &[u8; 16]) -> Result<Vec<Shape>, BuildError> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.entities.len());
        for (index, entity) in self.entities.iter().enumerate() {
            let shape = entity.shape(index, random);
            if entity.children > 0 && !shape.essence.starts_with("multipart/") {
                return Err(BuildError::NotMultipart(shape.essence));
            }
            shapes.push(shape);
        }
        for index in (1..shapes.len()).rev() {
            let below = shapes.get(index).map(|s| (s.eight_bit, s.binary));
            let parent = self.entities.get(index).and_then(|entity| entity.parent);
            if let (Some((eight_bit, binary)), Some(parent)) =
                (below, parent.and_then(|parent| shapes.get_mut(parent)))
            {
                parent.eight_bit |= eight_bit;
                parent.binary |= binary;
            }
        }
        for shape in &mut shapes {
            if shape.nature == Nature::Multipart && !shape.encoding_given {
                shape.encoding = match (shape.binary, shape.eight_bit) {
                    (true, _) => Encoding::Binary,
                    (false, true) => Encoding::EightBit,
                    (false, false) => Encoding::SevenBit,
                };
            }
        }
        Ok(shapes)
    }

    fn header(
        &self,
        entity: &Entity,
        shape: &Shape,
        outermost: bool,
        role: Role,
        eol: LineEnd,
        out: &mut Vec<u8>,
    ) {
        let own = &entity.own;
        let mut add = |name: &[u8], value: &[u8], form| {
            // Names were checked when they were given.
            out.extend(field::compose(name, value, form, eol).unwrap_or_default());
        };
        let mut has_type = false;
        for given in &own.fields {
            let is_type = given.name.eq_ignore_ascii_case(b"Content-Type");
            match (&shape.boundary, own.given_boundary(given)) {
                // A multipart needs its boundary, wherever its type comes from.
                (Some(boundary), None) if is_type && !has_type => {
                    let parameter = format!("; boundary=\"{boundary}\"");
                    let value = [given.value.trim_ascii_end(), parameter.as_bytes()].concat();
                    add(&given.name, &value, given.form);
                }
                _ => add(&given.name, &given.value, given.form),
            }
            has_type |= is_type;
        }
        if outermost {
            for (name, value) in &self.missing {
                if !own.has(name) {
                    add(name.as_bytes(), value.as_bytes(), ValueForm::default());
                }
            }
        }
        if outermost && role == Role::Message && !own.has("MIME-Version") {
            add(b"MIME-Version", b"1.0", ValueForm::default());
        }
        if !has_type {
            let value = own.content_type(shape);
            add(b"Content-Type", value.as_bytes(), ValueForm::default());
        }
        let says_encoding = match shape.encoding {
            Encoding::SevenBit => false,
            _ => !shape.encoding_given,
        };
        if says_encoding {
            let value = shape.encoding.as_str().as_bytes();
            add(b"Content-Transfer-Encoding", value, ValueForm::default());
        }
        let wanted = own.disposition.is_some() || own.file_name.is_some();
        if wanted && !own.has("Content-Disposition") {
            let value = own.content_disposition();
            add(b"Content-Disposition", &value, ValueForm::default());
        }
    }
}

impl Own {
    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of the first field called `name`, unfolded.
    fn value(&self, name: &str) -> Option<Vec<u8>> {
        let mut fields = self.fields.iter();
        let field = fields.find(|f| f.name.eq_ignore_ascii_case(name.as_bytes()))?;
        Some(header::unfold(&field.value))
    }

    /// The boundary that a Content-Type field says.
    fn given_boundary(&self, field: &Given) -> Option<String> {
        let value = ContentType::parse(&header::unfold(&field.value));
        let raw = value.raw_parameter("boundary")?;
        let text = String::from_utf8(raw.to_vec()).ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// The generated Content-Type.
    fn content_type(&self, shape: &Shape) -> String {
        let mut value = match &self.kind {
            Some(kind) => kind.text.clone(),
            None => shape.essence.clone(),
        };
        let parsed = ContentType::parse(value.as_bytes());
        if let Some(boundary) = &shape.boundary
            && parsed.raw_parameter("boundary").is_none()
        {
            value.push_str(&format!("; boundary=\"{boundary}\""));
        }
        if shape.essence.starts_with("text/") && parsed.parameter("charset").is_none() {
            value.push_str("; charset=utf-8");
        }
        value
    }

    fn content_disposition(&self) -> Vec<u8> {
        let kind = self.disposition.as_deref().unwrap_or("attachment");
        let mut value = Parameters::new(kind);
        if let Some(name) = &self.file_name {
            value = value.attribute("filename", name.as_str());
        }
        let mut out = Vec::new();
        value.write_header(&mut out, "Content-Disposition: ".len());
        // It is folded again with the line ends of the message.
        header::unfold(&out)
    }
}

impl Entity {
    fn shape(&self, index: usize, random: &[u8; 16]) -> Shape {
        let own = &self.own;
        let given = own.value("Content-Type");
        let essence = match (&given, &own.kind) {
            (Some(value), _) => ContentType::parse(value).value,
            (None, Some(kind)) => kind.essence.clone(),
            (None, None) if self.children > 0 => "multipart/mixed".to_owned(),
            (None, None) => "text/plain".to_owned(),
        };
        let nature = match self.children {
            0 => Nature::of(Some(&essence)),
            _ => Nature::Multipart,
        };
        let boundary = (nature == Nature::Multipart).then(|| {
            let kind = own.kind.as_ref().map(|kind| kind.text.as_bytes());
            let written = given.as_deref().or(kind).unwrap_or_default();
            let written = ContentType::parse(written);
            let raw = written.raw_parameter("boundary");
            let raw = raw.and_then(|raw| String::from_utf8(raw.to_vec()).ok());
            raw.filter(|raw| !raw.is_empty())
                .or_else(|| own.boundary.clone())
                .unwrap_or_else(|| made_boundary(random, index))
        });
        let encoding_field = own.value("Content-Transfer-Encoding");
        let body = own.body.as_deref().unwrap_or_default();
        let said = encoding_field
            .as_deref()
            .map(|v| Encoding::from_name(v.trim_ascii()));
        let encoding = match (said, nature) {
            (Some(Some(said)), Nature::Multipart | Nature::Message) => match said {
                // These types cannot be encoded; the field is the script's.
                Encoding::QuotedPrintable | Encoding::Base64 => Encoding::Binary,
                said => said,
            },
            (Some(said), _) => said.unwrap_or(Encoding::Binary),
            (None, nature) => body::best(body, nature),
        };
        let encoded = matches!(encoding, Encoding::QuotedPrintable | Encoding::Base64);
        Shape {
            nature,
            essence,
            encoding,
            encoding_given: said.is_some(),
            eight_bit: !encoded && !body.is_ascii(),
            binary: !encoded && encoding == Encoding::Binary,
            boundary,
        }
    }
}

/// The boundary of the entity `index`: as random as `random`, and another one for each.
fn made_boundary(random: &[u8; 16], index: usize) -> String {
    let mut random = *random;
    for (byte, salt) in random.iter_mut().zip((index as u64).to_le_bytes()) {
        *byte ^= salt;
    }
    ident::boundary(&random, &[])
}

/// A multipart that is being written.
struct Open {
    boundary: String,
    /// Where its body begins in what is written.
    from: usize,
    /// Boundary lines so far.
    delimiters: usize,
}

impl Open {
    fn delimiter(&mut self, out: &mut Vec<u8>, eol: LineEnd) {
        self.line_end(out, eol);
        out.extend_from_slice(b"--");
        out.extend_from_slice(self.boundary.as_bytes());
        out.extend_from_slice(eol.as_bytes());
        self.delimiters += 1;
    }

    /// The line end before a boundary line; the first one stands on a line of its own already.
    fn line_end(&self, out: &mut Vec<u8>, eol: LineEnd) {
        if self.delimiters > 0 {
            out.extend_from_slice(eol.as_bytes());
        }
    }
}

/// Ends the innermost multipart, after a look whether its boundary is nowhere else in it.
fn close(open: &mut Vec<Open>, out: &mut Vec<u8>, eol: LineEnd) -> Result<(), BuildError> {
    let Some(done) = open.pop() else {
        return Ok(());
    };
    let content = out.get(done.from..).unwrap_or_default();
    let boundary = done.boundary.as_bytes();
    if boundary_lines(content, boundary) > done.delimiters {
        return Err(BuildError::BoundaryInside(done.boundary));
    }
    done.line_end(out, eol);
    out.extend_from_slice(b"--");
    out.extend_from_slice(boundary);
    out.extend_from_slice(b"--");
    Ok(())
}

/// How many lines of `content` a parser would take for the boundary.
fn boundary_lines(content: &[u8], boundary: &[u8]) -> usize {
    let dashes = [b"--", boundary].concat();
    let is_line = |&at: &usize| {
        let starts = at == 0 || content.get(at - 1) == Some(&b'\n');
        let tail = content.get(at + dashes.len()..).unwrap_or_default();
        let end = memchr::memchr(b'\n', tail).unwrap_or(tail.len());
        let tail = tail.get(..end).unwrap_or_default();
        let tail = tail.strip_prefix(b"--").unwrap_or(tail);
        starts && tail.trim_ascii().is_empty()
    };
    memmem::find_iter(content, &dashes).filter(is_line).count()
}

#[cfg(test)]
mod tests;
