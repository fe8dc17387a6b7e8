//! `[[models]]`: public names, where they are served, and at what price.

use serde::Deserialize;

/// How a lossy translation is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLossConfig {
    /// Serve and report.
    #[default]
    Report,
    /// Refuse.
    Reject,
}

/// One public model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The name callers use.
    pub name: String,
    /// `premium`, `balanced`, `economy`, or a word of the operator's own.
    #[serde(default)]
    pub tier: Option<String>,
    /// The operator's word that models of one class can stand in for each other; hints compare their prices.
    #[serde(default)]
    pub class: Option<String>,
    /// Further names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Where it is served.
    pub deployments: Vec<DeploymentConfig>,
    /// What to try when all its deployments fail, in order.
    #[serde(default)]
    pub fallbacks: Vec<String>,
    /// The price of every deployment that sets none.
    #[serde(default)]
    pub price: Option<PriceConfig>,
}

/// One place where a model is served.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentConfig {
    /// The provider's name.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Share among the deployments; 0 is used only when the others fail.
    #[serde(default = "one")]
    pub weight: u32,
    /// Its price; else the model's, else the catalog's.
    #[serde(default)]
    pub price: Option<PriceConfig>,
    /// `report` or `reject`.
    #[serde(default)]
    pub on_loss: OnLossConfig,
    /// Most output tokens, where the catalog does not know or is wrong.
    #[serde(default)]
    pub output_tokens_max: Option<u32>,
    /// Context window, where the catalog does not know or is wrong.
    #[serde(default)]
    pub context_window: Option<u32>,
    /// Shown when it cannot serve, such as a date of retirement.
    #[serde(default)]
    pub notice: Option<String>,
}

fn one() -> u32 {
    1
}

/// A price as the operator writes it.
pub type PriceConfig = gateway_billing::price::PriceInput;
