//! Messages as JSON by the proto3 mapping: enums by name, 64-bit numbers as numbers (read from
//! strings too), what is absent left out.

use std::sync::OnceLock;

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use serde_json::Value;
use thiserror::Error;

/// Why bytes or JSON are not the message.
#[derive(Debug, Error)]
pub enum JsonError {
    /// There is no such message.
    #[error("there is no message {0}")]
    Unknown(String),
    /// The bytes are not one.
    #[error("the bytes are no {0}")]
    Bytes(String),
    /// The JSON is not one.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

fn pool() -> Option<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/control.bin"));
    POOL.get_or_init(|| DescriptorPool::decode(&bytes[..]).ok())
        .as_ref()
}

fn descriptor(message: &str) -> Result<MessageDescriptor, JsonError> {
    pool()
        .and_then(|pool| pool.get_message_by_name(&format!("smtpd.{message}")))
        .ok_or_else(|| JsonError::Unknown(message.to_owned()))
}

/// Whether there is a message with this name.
#[must_use]
pub fn knows(message: &str) -> bool {
    descriptor(message).is_ok()
}

/// The JSON of a message.
///
/// # Errors
/// The bytes are not that message.
pub fn to_json(message: &str, bytes: &[u8]) -> Result<Value, JsonError> {
    written(message, bytes, true)
}

/// The same with values that are 0, `false` or empty.
///
/// # Errors
/// The bytes are not that message.
pub fn to_whole_json(message: &str, bytes: &[u8]) -> Result<Value, JsonError> {
    written(message, bytes, false)
}

fn written(message: &str, bytes: &[u8], brief: bool) -> Result<Value, JsonError> {
    let wrong = |_| JsonError::Bytes(message.to_owned());
    let dynamic = DynamicMessage::decode(descriptor(message)?, bytes).map_err(wrong)?;
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .skip_default_fields(brief)
        .use_proto_field_name(true);
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// The message of a JSON text.
///
/// # Errors
/// The text is not that message.
pub fn from_json(message: &str, text: &str) -> Result<Vec<u8>, JsonError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let options = DeserializeOptions::new();
    let dynamic =
        DynamicMessage::deserialize_with_options(descriptor(message)?, &mut json, &options)?;
    json.end()?;
    Ok(dynamic.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;
    use serde_json::json;

    #[test]
    fn a_request_is_written_as_the_command_line_of_the_reference_product_shows_it() {
        let request = proto::QueueUpdateRequest {
            conditions: Some(proto::Condition {
                queues: vec![proto::condition::QueueState {
                    queue: Some(proto::Queue::Defer.into()),
                }],
                jobids: vec![proto::StringRegexValue {
                    value: "foobar".into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            task: Some(proto::queue_update_request::Task::Actiontype(
                proto::ActionType::Bounce.into(),
            )),
            ..Default::default()
        };
        let bytes = request.encode_to_vec();
        let json = to_json("QueueUpdateRequest", &bytes).unwrap();
        let want = json!({
            "conditions": {"queues": [{"queue": "DEFER"}], "jobids": [{"value": "foobar"}]},
            "actiontype": "BOUNCE",
        });
        assert_eq!(json, want);
        assert_eq!(
            from_json("QueueUpdateRequest", &want.to_string()).unwrap(),
            bytes
        );
    }

    #[test]
    fn numbers_of_64_bits_are_numbers_and_are_read_from_strings_too() {
        let response = proto::QueueQuotaResponse {
            count: 1 << 60,
            bytes: 0,
        };
        let json = to_json("QueueQuotaResponse", &response.encode_to_vec()).unwrap();
        assert_eq!(json, json!({"count": 1_u64 << 60}));
        let text = r#"{"count": "1152921504606846976"}"#;
        assert_eq!(
            from_json("QueueQuotaResponse", text).unwrap(),
            response.encode_to_vec()
        );
        assert!(from_json("QueueQuotaResponse", r#"{"cuont": 1}"#).is_err());
        assert!(to_json("QueueQuotaResponse", b"\xff\xff").is_err());
    }

    #[test]
    fn the_first_value_of_an_enum_is_written_where_it_was_chosen() {
        let request = proto::QueueUpdateRequest {
            conditions: Some(proto::Condition {
                queues: vec![proto::condition::QueueState {
                    queue: Some(proto::Queue::Active.into()),
                }],
                ..Default::default()
            }),
            task: Some(proto::queue_update_request::Task::Actiontype(
                proto::ActionType::Delete.into(),
            )),
            ..Default::default()
        };
        let json = to_json("QueueUpdateRequest", &request.encode_to_vec()).unwrap();
        let want = json!({"conditions": {"queues": [{"queue": "ACTIVE"}]}, "actiontype": "DELETE"});
        assert_eq!(json, want);
    }
}
