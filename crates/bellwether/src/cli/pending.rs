//! What waits for a second administrator: `bellwether account pending|confirm|refuse`.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    account::available,
    admin_client::{AdminClient, segment},
    code, output,
};

/// Says so when the answer is that something waits.
pub(super) fn waits(answer: &Value) -> bool {
    let pending = answer["object"] == "pending_credit";
    if pending {
        println!("{} waits until another administrator confirms it", output::text(answer, "/id"));
    }
    pending
}

pub(super) async fn list(admin: &AdminClient, json: bool) -> Result<()> {
    let list = admin.get("/admin/v1/credits/pending").await?;
    if json {
        output::json(&list);
        return Ok(());
    }
    let columns = ["/id", "/what", "/amount/usd", "/account", "/name", "/reason", "/asked_by", "/asked_at"];
    let rows = output::rows(&list, |row| columns.map(|at| output::text(row, at)));
    output::table(["ID", "WHAT", "USD", "ACCOUNT", "NAME", "REASON", "ASKED BY", "ASKED AT"], &rows);
    Ok(())
}

pub(super) async fn confirm(admin: &AdminClient, id: &str, json: bool) -> Result<()> {
    let done = admin.post(&format!("/admin/v1/credits/{}/confirm", segment(id)), &json!({}), None).await?;
    if json {
        output::json(&done);
    } else if done["balance"].is_object() {
        println!("credited; available {}", available(&done["balance"]));
    } else if done["codes"].is_array() {
        code::show(&done);
    } else {
        println!("the campaign {} is made", output::text(&done, "/name"));
    }
    Ok(())
}

pub(super) async fn refuse(admin: &AdminClient, id: &str, json: bool) -> Result<()> {
    let refused = admin.post(&format!("/admin/v1/credits/{}/refuse", segment(id)), &json!({}), None).await?;
    if json {
        output::json(&refused);
    } else {
        println!("{} refused", output::text(&refused, "/id"));
    }
    Ok(())
}
