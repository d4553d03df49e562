//! What is wrong with a line of input.
//!
//! Not here: reading lines (`lines`).

/// A line that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {message}", field_words(.field))]
#[non_exhaustive]
pub struct LineError {
    /// The line, from 1.
    pub line: u64,
    /// The field, where it is one field's fault.
    pub field: Option<String>,
    /// The stable code.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// The kinds of refusal that belong to the protocol itself; the layers below have codes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The line is not UTF-8.
    NotUtf8,
    /// The line is not JSON.
    NotJson,
    /// The line is JSON, but not an object.
    NotAnObject,
    /// A field that is needed is missing.
    FieldMissing,
    /// A field is not known here, or stands twice.
    FieldUnknown,
    /// A field has the wrong type.
    FieldType,
    /// A field does not go with another one.
    FieldConflict,
    /// The operation or question is not known.
    OperationUnknown,
    /// Text that is not a time.
    TimeFormat,
    /// A time beyond what can be stored.
    TimeRange,
    /// A period that ends before it starts.
    PeriodReversed,
    /// A key of no bytes, or bad base64.
    BadKey,
    /// The operation comes in a later version.
    NotYet,
}

impl Fault {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotUtf8 => "LLMDB-J01",
            Self::NotJson => "LLMDB-J02",
            Self::NotAnObject => "LLMDB-J03",
            Self::FieldMissing => "LLMDB-J04",
            Self::FieldUnknown => "LLMDB-J05",
            Self::FieldType => "LLMDB-J06",
            Self::FieldConflict => "LLMDB-J07",
            Self::OperationUnknown => "LLMDB-J08",
            Self::TimeFormat => "LLMDB-J09",
            Self::TimeRange => "LLMDB-J10",
            Self::PeriodReversed => "LLMDB-J11",
            Self::BadKey => "LLMDB-J12",
            Self::NotYet => "LLMDB-J13",
        }
    }
}

impl LineError {
    pub(crate) fn new(line: u64, field: Option<&str>, fault: Fault, message: impl Into<String>) -> Self {
        Self { line, field: field.map(Into::into), code: fault.code(), message: message.into() }
    }

    /// A refusal by a layer below.
    pub(crate) fn below(line: u64, field: Option<&str>, code: &'static str, message: String) -> Self {
        Self { line, field: field.map(Into::into), code, message }
    }
}

fn field_words(field: &Option<String>) -> String {
    field.as_ref().map_or_else(String::new, |field| format!(", field `{field}`"))
}
