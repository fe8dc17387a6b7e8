//! What the tests of this codec share, and the path.

use gateway_core::{
    Deployment, DeploymentId, Losses, ModelLimits, OnLoss, ProviderId, Quirks, Target, Timeouts,
    ir::{ChatRequest, Message, Part, Role},
};
use serde_json::Value;

use super::*;

/// A deployment with these quirks and no known limits.
pub(super) fn deployment(quirks: Quirks) -> Deployment {
    Deployment {
        id: DeploymentId::new("g"),
        provider: ProviderId::new("p"),
        model: "public".into(),
        upstream_model: "gemini-upstream".into(),
        protocol: GEMINI,
        weight: 1,
        limits: ModelLimits::default(),
        timeouts: Timeouts::default(),
        on_loss: OnLoss::Report,
        quirks,
        notice: None,
    }
}

pub(super) fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, name: None, parts, extras: None }
}

/// "hi" from a user.
pub(super) fn hello() -> ChatRequest {
    ChatRequest { messages: vec![message(Role::User, vec![Part::text("hi")])], ..ChatRequest::default() }
}

/// The body as JSON and the losses as lines.
pub(super) fn encoded(request: &ChatRequest, quirks: Quirks) -> (Value, Vec<String>) {
    let deployment = deployment(quirks);
    let target = Target { deployment: &deployment, stream: false, output_limit: None };
    let mut losses = Losses::new();
    let encoded = GeminiEgress::new().encode(request, &target, &mut losses).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), lines(&losses))
}

pub(super) fn lines(losses: &Losses) -> Vec<String> {
    losses.iter().map(|loss| format!("{};{}", loss.path, loss.reason.as_str())).collect()
}

#[test]
fn a_model_name_cannot_leave_its_place_in_the_path() {
    let table = [
        ("gemini-3-pro", "/models/gemini-3-pro:generateContent"),
        ("models/gemini-3-pro", "/models/gemini-3-pro:generateContent"),
        ("publishers/google/models/g@001", "/publishers/google/models/g@001:generateContent"),
        ("/models/x/", "/models/x:generateContent"),
        ("../admin", "/%2E%2E/admin:generateContent"),
        ("..", "/models/%2E%2E:generateContent"),
        ("a:b", "/models/a%3Ab:generateContent"),
        ("a?key=1&x#y", "/models/a%3Fkey%3D1%26x%23y:generateContent"),
        ("a%2Fb", "/models/a%252Fb:generateContent"),
        ("é\r\n", "/models/%C3%A9%0D%0A:generateContent"),
    ];
    for (model, expected) in table {
        assert_eq!(path(model, false), expected);
        assert!(format!("https://h{}", path(model, true)).parse::<http::Uri>().is_ok(), "{model}");
    }
}
