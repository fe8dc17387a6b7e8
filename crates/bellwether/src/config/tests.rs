use std::collections::BTreeMap;

use super::*;

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let environment: BTreeMap<String, String> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::parse(text, "bellwether.toml", &environment).map_err(|error| error.to_string())
}

fn refused(text: &str, variables: &[(&str, &str)], expected: &str) {
    let message = parse(text, variables).expect_err(text);
    assert!(message.contains(expected), "expected `{expected}` in `{message}`");
}

#[test]
fn an_empty_file_is_a_whole_configuration() {
    let config = parse("", &[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.storage.sqlite_path().unwrap().to_str(), Some("bellwether.db"));
}

#[test]
fn unknown_and_wrong_keys_name_the_line_and_the_nearest_key() {
    refused("[server]\nlisten = \"127.0.0.1:1\"\nlisen = 1\n", &[], "bellwether.toml:3:1: unknown field `lisen`");
    refused("[server]\nlisen = 1\n", &[], "did you mean `listen`?");
    refused("[sever]\n", &[], "did you mean `server`?");
    refused("[storage]\nsynchronous = \"ful\"\n", &[], "did you mean `full`?");
    refused("[server]\nlisten = 8080\n", &[], "bellwether.toml:2:10");
    refused("[providers.house]\nbase_ulr = \"x\"\n", &[], "did you mean `base_url`?");
    refused("[server\n", &[], "bellwether.toml:1:");
}

#[test]
fn values_that_make_no_sense_are_refused_by_key() {
    refused("[storage]\nurl = \"mysql://x\"\n", &[], "`storage.url`: `mysql://x` is not a database");
    refused("[server]\nconnections_max = 0\n", &[], "`server.connections_max`: must be at least 1");
    refused("[[models]]\nname = \"a\"\ndeployments = []\n", &[], "`models[0].deployments`");
    let twice = "[[models]]\nname = \"a\"\ndeployments = [{ provider = \"p\", model = \"m\" }]\n".repeat(2);
    refused(&twice, &[], "`models[1].name`: `a` is defined twice");
}

#[test]
fn the_sign_up_grant_is_read_exactly_or_refused() {
    let granted = |text: &str| parse(text, &[]).map(|config| config.billing.signup_grant_usd.get());
    assert_eq!(granted(""), Ok(5_000_000_000));
    for (text, nano) in [("0", 0), ("0.50", 500_000_000), ("0.000000001", 1), ("1000", 1_000_000_000_000)] {
        assert_eq!(granted(&format!("[billing]\nsignup_grant_usd = \"{text}\"\n")), Ok(nano));
    }
    for text in ["\"-1\"", "\"1000.000000001\"", "\"0.0000000001\"", "\"5 USD\"", "\"\"", "\"1e3\"", "5", "0.5"] {
        refused(&format!("[billing]\nsignup_grant_usd = {text}\n"), &[], "bellwether.toml:2:20: ");
        refused(&format!("[billing]\nsignup_grant_usd = {text}\n"), &[], "expected dollars in quotes, such as \"5\"");
    }
    let config = parse("", &[("BELLWETHER_BILLING__SIGNUP_GRANT_USD", "7")]).unwrap();
    assert_eq!(config.billing.signup_grant_usd.get(), 7_000_000_000);
    refused("", &[("BELLWETHER_BILLING__SIGNUP_GRANT_USD", "-7")], "BELLWETHER_BILLING__SIGNUP_GRANT_USD: invalid type");
}

#[test]
fn overrides_win_over_the_file_and_name_themselves_when_wrong() {
    let config = parse("[server]\nlisten = \"127.0.0.1:1\"\n", &[("BELLWETHER_SERVER__LISTEN", "127.0.0.1:2")]).unwrap();
    assert_eq!(config.server.listen.port(), 2);
    let config = parse("", &[("BELLWETHER_LOG__LEVEL", "debug"), ("BELLWETHER_BILLING__STRICT_SETTLE", "true")]).unwrap();
    assert_eq!((config.log.level.as_str(), config.billing.strict_settle), ("debug", true));
    refused("", &[("BELLWETHER_SERVER__LISEN", "x")], "BELLWETHER_SERVER__LISEN: unknown field `lisen`");
    refused("", &[("BELLWETHER_SERVER__CONNECTIONS_MAX", "many")], "BELLWETHER_SERVER__CONNECTIONS_MAX");
    let config = parse("", &[("BELLWETHER_URL", "http://x"), ("BELLWETHER_ADMIN_TOKEN", "t")]).unwrap();
    assert_eq!(config.providers.len(), 0, "names without a double underscore are not settings");
}

#[test]
fn secrets_come_from_variables_and_are_never_shown() {
    let config = parse("[providers.a]\napi_key = \"env:KEY_A\"\n[providers.b]\napi_key = \"sk-literal-secret\"\n", &[]).unwrap();
    let environment = BTreeMap::from([("KEY_A".to_owned(), " secret \n".to_owned())]);
    let key = config.providers["a"].api_key.as_ref().and_then(|key| key.resolve(&environment));
    assert_eq!(key.as_ref().map(gateway_core::Secret::expose), Some("secret"));
    assert!(!format!("{config:?}").contains("sk-literal-secret"));
    for error in [
        parse("[providers.a]\napi_keys = \"sk-literal-secret\"\n", &[]).unwrap_err(),
        parse("", &[("BELLWETHER_PROVIDERS__A__API_KEYS", "sk-literal-secret")]).unwrap_err(),
    ] {
        assert!(error.contains("a string, expected a sequence") && !error.contains("literal"), "{error}");
    }
    refused("[providers.a]\napi_key = \"env:\"\n", &[], "environment variable");
    refused("[providers.a]\napi_key = \"\"\n", &[], "must not be empty");
}
