//! nginx as a plain HTTP proxy to the same upstream: one worker, upstream keep-alive, access log on.

use std::{fs, net::SocketAddr, path::Path, process::Stdio, thread::sleep, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    gateway::{Running, free_address, get_status, now},
    shell,
};

/// A running nginx; streams go to a port of their own, where answers are not buffered.
pub(crate) struct Nginx {
    running: Running,
    pub(crate) url: String,
    pub(crate) stream_url: String,
}

impl Nginx {
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }
}

/// Starts it, or `None` if it is not installed.
pub(crate) fn start(folder: &Path, upstream: &str, core: Option<u32>) -> Result<Option<Nginx>> {
    let Some(program) = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| shell::works(program, &["-v"])) else { return Ok(None) };
    fs::create_dir_all(folder)?;
    let (whole, streams) = (free_address()?, free_address()?);
    let config = folder.join("nginx.conf");
    fs::write(&config, text(folder, upstream, whole, streams))?;
    let mut command = shell::pinned(Path::new(program), core);
    command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(&config).arg("-p").arg(folder).stdin(Stdio::null());
    let running = Running::start(command)?;
    let started = now();
    while get_status(whole, "/").is_none() {
        ensure!(started.elapsed() < Duration::from_secs(10), "nginx did not start; see {}", folder.join("error.log").display());
        sleep(Duration::from_millis(10));
    }
    Ok(Some(Nginx { running, url: format!("http://{whole}"), stream_url: format!("http://{streams}") }))
}

fn text(folder: &Path, upstream: &str, whole: SocketAddr, streams: SocketAddr) -> String {
    let folder = folder.display();
    let server = |listen: SocketAddr, buffering: &str| {
        format!(
            "  server {{
    listen {listen} backlog=4096;
    location / {{
      proxy_pass http://upstream;
      proxy_http_version 1.1;
      proxy_set_header connection \"\";
      proxy_buffering {buffering};
    }}
  }}
"
        )
    };
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  client_max_body_size 32m;
  client_body_buffer_size 64k;
  upstream upstream {{
    server {upstream};
    keepalive 2048;
    keepalive_requests 100000000;
  }}
{}{}}}
",
        server(whole, "on"),
        server(streams, "off")
    )
}
