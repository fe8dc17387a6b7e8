//! `bellwether budget …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{
    admin_client::{AdminClient, segment},
    output,
};

#[derive(Debug, Subcommand)]
pub(super) enum Budget {
    /// Make a budget: what its scope may spend in a period
    Create {
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// Its name, unique in the account
        name: String,
        /// The limit, in dollars, such as 20 or 0.50
        limit: String,
        /// hour, day, week, month, total, or the last hours, such as 24h
        #[arg(long, default_value = "month")]
        every: String,
        /// The zone in which hours, days and months begin, such as Asia/Shanghai
        #[arg(long, default_value = "UTC")]
        tz: String,
        /// The first day of a month, 1 to 31
        #[arg(long)]
        month_day: Option<i8>,
        /// The first day of a week, Monday 1
        #[arg(long)]
        week_start: Option<i8>,
        /// The time of day at which a period begins, such as 08:00
        #[arg(long)]
        reset_at: Option<String>,
        /// Whose spending: org, or team:ID, user:ID, key:ID, tag:NAME; * in place of an id is each
        #[arg(long, default_value = "org")]
        scope: String,
        /// Only what this public model serves
        #[arg(long)]
        model: Option<String>,
        /// Only what this provider serves
        #[arg(long)]
        provider: Option<String>,
        /// Refuse nothing, only tell
        #[arg(long)]
        soft: bool,
        /// Of test money
        #[arg(long)]
        test: bool,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// List an account's budgets with what they have left
    List {
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// Those of test money
        #[arg(long)]
        test: bool,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Change a budget's limit, at once
    Limit {
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// The budget's id: bud_…
        id: String,
        /// The limit, in dollars
        limit: String,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// End a budget; what it counted stays readable
    End {
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// The budget's id: bud_…
        id: String,
    },
}

impl Budget {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        let path = |account: &str| format!("/admin/v1/accounts/{}/budgets", segment(account));
        match self {
            Self::Create { account, name, limit, every, tz, month_day, week_start, reset_at, scope, model, provider, soft, test, json } => {
                let (scope, subject) = scope.split_once(':').map_or((scope.as_str(), None), |(scope, id)| (scope, Some(id)));
                let mut period = Map::from_iter([("tz".to_owned(), json!(tz))]);
                match every.strip_suffix('h').and_then(|hours| hours.parse::<u16>().ok()) {
                    Some(hours) => period.extend([("every".to_owned(), json!("rolling")), ("hours".to_owned(), json!(hours))]),
                    None => period.extend([("every".to_owned(), json!(every))]),
                }
                let optional = [("month_day", json!(month_day)), ("week_start", json!(week_start)), ("reset_at", json!(reset_at))];
                period.extend(optional.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.to_owned(), value)));
                let body = json!({
                    "name": name, "limit_usd": limit, "period": period, "scope": scope, "subject": subject, "model": model,
                    "provider": provider, "enforcement": if soft { "soft" } else { "hard" }, "mode": if test { "test" } else { "live" },
                });
                show_one(&admin.post(&path(&account), &body, None).await?, json);
            }
            Self::List { account, test, json } => {
                let mode = if test { "test" } else { "live" };
                let list = admin.get(&format!("{}?mode={mode}", path(&account))).await?;
                if json {
                    output::json(&list);
                } else {
                    let rows = output::rows(&list, row);
                    output::table(["ID", "NAME", "SCOPE", "PERIOD", "LIMIT", "LEFT", "ENDS"], &rows);
                }
            }
            Self::Limit { account, id, limit, json } => {
                let place = format!("{}/{}", path(&account), segment(&id));
                show_one(&admin.patch(&place, &json!({ "limit_usd": limit })).await?, json);
            }
            Self::End { account, id } => {
                admin.delete(&format!("{}/{}", path(&account), segment(&id))).await?;
                println!("{id} ended");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show_one(budget: &Value, json: bool) {
    if json {
        output::json(budget);
    } else {
        println!("{}", row(budget).join("  "));
    }
}

fn row(budget: &Value) -> [String; 7] {
    let text = |at| output::text(budget, at);
    let money = |at: &str| [format!("{at}/usd"), format!("{at}/xts")].iter().map(|at| output::text(budget, at)).collect::<String>();
    let mut scope = text("/scope");
    for (mark, at) in [(":", "/subject"), (" model ", "/model"), (" provider ", "/provider")] {
        let only = text(at);
        if !only.is_empty() {
            scope += &format!("{mark}{only}");
        }
    }
    let every = text("/period/every") + &text("/period/hours");
    [text("/id"), text("/name"), scope, every, money("/limit"), money("/current/left"), text("/current/end")]
}
