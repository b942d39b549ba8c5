//! Questions and commands of a person, in names; put to the hub over a node's session.

use hutong_schema::{
    catalogue::{CatalogueEntry, DataType, Item},
    geometry,
    grant::{GrantView, Target},
    ids::ResourceCode,
    library::{self, LibraryId},
    row::{FieldId, KEY_SEPARATOR, RowRef, key_parts},
    rules,
    wire::v1::{
        ask::{Claim, FoundRow, Lookup, LookupAnswer, LookupBy, Verdict, Verify, VerifyAnswer},
        command::{GrantList, GrantPage},
        control::Key,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::link::{LinkError, Session, catalogue};

/// A question or command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Question {
    /// Rows by key, field, box or nearness.
    Lookup {
        /// Library or resource code.
        target: String,
        /// By what.
        by: By,
        /// Case or file; recorded by the hub.
        reason: String,
        /// At most this many rows.
        limit: u16,
    },
    /// Whether claims are true.
    Verify {
        /// Library or resource code.
        target: String,
        /// Parts of the key.
        key: Vec<String>,
        /// Field names and claimed values.
        claims: Vec<(String, String)>,
        /// Case or file; recorded by the hub.
        reason: String,
    },
    /// Register or change catalogue entries.
    CatalogueApply(Vec<CatalogueEntry>),
    /// List catalogue entries.
    CatalogueList {
        /// Only those of the node's department.
        own: bool,
    },
    /// List the department's grants.
    Grants,
}

/// By what rows are looked up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum By {
    /// The parts of the key.
    Key(Vec<String>),
    /// Name and value of an indexed field.
    Field(String, String),
    /// West, south, east, north.
    Box([f64; 4]),
    /// Longitude and latitude.
    Near([f64; 2]),
}

/// A question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The hub.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// There is no such library or resource.
    #[error(
        "{0:?} is neither a library (population, legal_person, geospatial) nor a resource code"
    )]
    Target(String),
    /// The department has no grant that describes the resource.
    #[error(
        "the fields of {0} are not known: the department has no grant for it; ask for one at the hub's operator"
    )]
    NoView(Target),
    /// A field does not exist.
    #[error("{target} has no field {name:?}; it has: {known}")]
    Field {
        /// Where.
        target: Target,
        /// As given.
        name: String,
        /// What there is.
        known: String,
    },
    /// A value is not of its field's type.
    #[error("{name} = {value:?}: {reason}")]
    Value {
        /// The field.
        name: String,
        /// As given.
        value: String,
        /// Why.
        reason: String,
    },
    /// The key has another number of parts.
    #[error("the key has {found} part(s), {due} are due: {names}")]
    KeyParts {
        /// Parts given.
        found: usize,
        /// Parts due.
        due: usize,
        /// Their names.
        names: String,
    },
    /// The answer does not read.
    #[error("the hub's answer cannot be read: {0}")]
    Answer(String),
}

/// Puts a question; the answer as JSON.
///
/// # Errors
/// When the question makes no sense, or the hub refuses or fails.
pub async fn perform(session: &Session, question: &Question) -> Result<Value, QuestionError> {
    match question {
        Question::Lookup { target, by, reason, limit } => {
            let fields = Fields::of(session, target).await?;
            let by = fields.by(by)?;
            let ask =
                Lookup { target: fields.target.clone(), by, reason: reason.clone(), limit: *limit };
            let answer: LookupAnswer = session.ask(&ask).await?;
            let rows =
                answer.rows.iter().map(|row| fields.row(row)).collect::<Result<Vec<_>, _>>()?;
            Ok(json!({ "grant": answer.grant, "more": answer.more, "rows": rows }))
        }
        Question::Verify { target, key, claims, reason } => {
            let fields = Fields::of(session, target).await?;
            let mut asked = Vec::with_capacity(claims.len());
            for (name, value) in claims {
                let item = fields.item(name)?;
                asked.push(Claim { field: item.id, value: canonical(item, value)? });
            }
            let ask = Verify {
                target: fields.target.clone(),
                key: fields.key(key)?,
                claims: asked,
                reason: reason.clone(),
            };
            let answer: VerifyAnswer = session.ask(&ask).await?;
            let verdicts = claims.iter().zip(&answer.verdicts).map(|((name, _), verdict)| {
                let word = match verdict {
                    Verdict::Match => "match",
                    Verdict::Mismatch => "mismatch",
                    Verdict::Absent => "absent",
                };
                json!({ "field": name, "verdict": word })
            });
            Ok(json!({ "grant": answer.grant, "verdicts": verdicts.collect::<Vec<_>>() }))
        }
        Question::CatalogueApply(entries) => {
            let applied = catalogue::apply(session, entries).await?;
            let warnings: Vec<_> = applied
                .warnings
                .iter()
                .map(|(code, text)| json!({ "code": code, "text": text }))
                .collect();
            Ok(
                json!({ "changed": applied.changed, "unchanged": applied.unchanged, "warnings": warnings }),
            )
        }
        Question::CatalogueList { own } => {
            let entries = catalogue::list_all(session, *own).await?;
            serde_json::to_value(entries).map_err(|error| QuestionError::Answer(error.to_string()))
        }
        Question::Grants => serde_json::to_value(grants(session).await?)
            .map_err(|error| QuestionError::Answer(error.to_string())),
    }
}

async fn grants(session: &Session) -> Result<Vec<GrantView>, QuestionError> {
    let page: GrantPage = session.ask(&GrantList {}).await?;
    page.grants.read().map_err(|error| QuestionError::Answer(error.to_string()))
}

/// The fields of a target by name.
struct Fields {
    target: Target,
    keys: Vec<Item>,
    items: Vec<Item>,
}

impl Fields {
    /// A library describes itself; a resource is described by the grants for it.
    async fn of(session: &Session, name: &str) -> Result<Self, QuestionError> {
        if let Some(library) = LibraryId::from_code(name).and_then(library::definition) {
            let items = library.columns().into_iter().cloned().collect();
            return Ok(Self {
                target: Target::Library(library.id),
                keys: vec![library.key().clone()],
                items,
            });
        }
        let code: ResourceCode =
            name.parse().map_err(|_| QuestionError::Target(name.to_owned()))?;
        let target = Target::Resource(code);
        let views = grants(session).await?;
        let of_target: Vec<_> =
            views.into_iter().filter(|view| view.grant.target == target).collect();
        let keys =
            of_target.first().ok_or_else(|| QuestionError::NoView(target.clone()))?.keys.clone();
        let mut items: Vec<Item> = of_target.into_iter().flat_map(|view| view.items).collect();
        items.sort_by_key(|item| item.id);
        items.dedup_by_key(|item| item.id);
        Ok(Self { target, keys, items })
    }

    fn all(&self) -> impl Iterator<Item = &Item> {
        self.keys.iter().chain(&self.items)
    }

    fn item(&self, name: &str) -> Result<&Item, QuestionError> {
        let found = self.all().find(|item| item.name == name);
        found.or_else(|| self.all().find(|item| item.label == name)).ok_or_else(|| {
            QuestionError::Field {
                target: self.target.clone(),
                name: name.to_owned(),
                known: names(self.all()),
            }
        })
    }

    fn by(&self, by: &By) -> Result<LookupBy, QuestionError> {
        Ok(match by {
            By::Key(parts) => LookupBy::Key(self.key(parts)?),
            By::Field(name, value) => {
                let item = self.item(name)?;
                LookupBy::Index { field: item.id, value: canonical(item, value)? }
            }
            By::Box(bounds) => LookupBy::Box { bounds: *bounds },
            By::Near(point) => LookupBy::Nearest { point: *point },
        })
    }

    fn key(&self, parts: &[String]) -> Result<Key, QuestionError> {
        if parts.len() != self.keys.len() {
            let (found, due) = (parts.len(), self.keys.len());
            return Err(QuestionError::KeyParts { found, due, names: names(self.keys.iter()) });
        }
        let mut key = Vec::new();
        for (item, part) in self.keys.iter().zip(parts) {
            if !key.is_empty() {
                key.push(KEY_SEPARATOR);
            }
            key.extend_from_slice(&canonical(item, part)?);
        }
        Ok(Key(key))
    }

    fn row(&self, found: &FoundRow) -> Result<Value, QuestionError> {
        let row =
            RowRef::parse(&found.row).map_err(|error| QuestionError::Answer(error.to_string()))?;
        let mut shown = Map::new();
        for (item, part) in self.keys.iter().zip(key_parts(&found.key.0)) {
            shown.insert(item.name.clone(), shown_value(item, part));
        }
        for (field, value) in row.iter() {
            let item = self.items.iter().find(|item| item.id == field);
            let name = item.map_or_else(|| name_of(field), |item| item.name.clone());
            let value = item.map_or_else(|| text(value), |item| shown_value(item, value));
            shown.insert(name, value);
        }
        Ok(Value::Object(shown))
    }
}

fn names<'i>(items: impl Iterator<Item = &'i Item>) -> String {
    items.map(|item| format!("{} ({})", item.name, item.label)).collect::<Vec<_>>().join(", ")
}

fn name_of(field: FieldId) -> String {
    format!("field {field}")
}

fn canonical(item: &Item, value: &str) -> Result<Vec<u8>, QuestionError> {
    let wrong = |reason: String| QuestionError::Value {
        name: item.name.clone(),
        value: value.to_owned(),
        reason,
    };
    let found = rules::canonicalise(item, value).map_err(|reason| wrong(reason.to_string()))?;
    found.map(|value| value.into_owned()).ok_or_else(|| wrong("a value is due".to_owned()))
}

fn shown_value(item: &Item, value: &[u8]) -> Value {
    if item.data_type == DataType::Geometry {
        let parsed =
            geometry::to_geojson(value).ok().and_then(|json| serde_json::from_str(&json).ok());
        return parsed.unwrap_or(Value::Null);
    }
    text(value)
}

fn text(value: &[u8]) -> Value {
    String::from_utf8_lossy(value).into_owned().into()
}
