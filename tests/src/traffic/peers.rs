//! Servers of other projects in the lab's internet: nginx, dropbear, vsftpd, dnsmasq, coturn.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::lab::{
    Lab, Namespace, Process,
    topology::{GatewayLab, SERVER4, SERVER6},
};

/// The longest time that a server may take to start.
const START: Duration = Duration::from_secs(10);

/// A running server, and its directory.
pub struct Peer {
    /// The program.
    pub process: Process,
    /// Where its files lie.
    pub dir: PathBuf,
}

fn directory(lab: &Lab, name: &str) -> Result<PathBuf> {
    let dir = lab.dir().join(name);
    fs::create_dir_all(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// Starts a program in the server's namespace, and waits until something listens on this port.
fn start(lab: &GatewayLab, dir: PathBuf, words: &[&str], listens: &str) -> Result<Peer> {
    start_in(&lab.lab, &lab.server, dir, words, listens)
}

fn start_in(
    lab: &Lab,
    namespace: &Namespace,
    dir: PathBuf,
    words: &[&str],
    listens: &str,
) -> Result<Peer> {
    let (program, rest) = words.split_first().context("no program")?;
    let mut command = namespace.command(program);
    command.args(rest);
    let mut process = lab.spawn(program, command)?;
    process.wait_until("listening", START, |_| {
        let sockets = namespace.output(&["ss", "--no-header", "-lntu"]);
        sockets.is_ok_and(|sockets| sockets.contains(listens))
    })?;
    Ok(Peer { process, dir })
}

/// nginx with TLS and HTTP/2 on port 443 and without on port 80, serving a file `data` of this size.
pub fn nginx(lab: &GatewayLab, size: usize) -> Result<(Peer, Vec<u8>)> {
    let dir = directory(&lab.lab, "nginx")?;
    let data: Vec<u8> = (0..size as u32)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes())
        .take(size)
        .collect();
    fs::write(dir.join("data"), &data)?;
    certify(&dir, "server")?;
    let location = format!("root {};", dir.display());
    Ok((start_nginx(&lab.lab, &lab.server, &dir, &location)?, data))
}

/// nginx on ports 80 and 443 of a namespace, whose answers have the status that the path names: `/204`,
/// `/302`, `/503`, and 200 for all else. Its certificate is of `probe.test`, and `dir/authority` vouches
/// for it.
pub fn nginx_of_statuses(lab: &Lab, namespace: &Namespace) -> Result<Peer> {
    let dir = directory(lab, &format!("nginx-{}", namespace.name()))?;
    let locations = "location /204 { return 204; } location /302 { return 302 /; } \
                     location /503 { return 503; } location / { return 200 ok; }";
    certify(&dir, "probe.test")?;
    start_nginx(lab, namespace, &dir, locations)
}

/// Leaves a key and a certificate of this name in a directory, and the authority that vouches for it.
fn certify(dir: &Path, name: &str) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &issuer)?;
    for (file, text) in [
        ("authority", authority.pem()),
        ("cert", certificate.pem()),
        ("key", key.serialize_pem()),
    ] {
        fs::write(dir.join(file), text)?;
    }
    Ok(())
}

fn start_nginx(lab: &Lab, namespace: &Namespace, dir: &Path, what: &str) -> Result<Peer> {
    let path = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
        .concat();
    fs::write(
        dir.join("nginx.conf"),
        format!(
            "daemon off; master_process off; user root; pid {path}/pid; error_log stderr;\n\
             events {{ }}\n\
             http {{ access_log off; {temporary}\n\
             server {{ listen 80; listen [::]:80; listen 443 ssl http2; listen [::]:443 ssl http2;\n\
             ssl_certificate {path}/cert; ssl_certificate_key {path}/key; {what} }} }}\n"
        ),
    )?;
    let config = format!("{path}/nginx.conf");
    let words = [
        "nginx",
        "-e",
        "stderr",
        "-p",
        dir.to_str().context("a path")?,
        "-c",
        &config,
    ];
    start_in(lab, namespace, dir.to_owned(), &words, ":443 ")
}

/// An SSH server on port 22 that lets root in with the key that is left in `dir`, `client`.
pub fn dropbear(lab: &GatewayLab) -> Result<Peer> {
    let dir = directory(&lab.lab, "dropbear")?;
    let path = dir.display();
    for key in ["host", "client"] {
        let file = format!("{path}/{key}");
        lab.server
            .output(&["dropbearkey", "-t", "ed25519", "-f", &file])?;
    }
    let words = [
        "dropbear",
        "-F",
        "-E",
        "-r",
        &format!("{path}/host"),
        "-p",
        "22",
    ];
    start(lab, dir.clone(), &words, ":22 ")
}

/// An FTP server on port 21 that serves anybody the files of `dir/files`.
pub fn vsftpd(lab: &GatewayLab) -> Result<Peer> {
    let dir = directory(&lab.lab, "vsftpd")?;
    let (files, empty) = (
        directory(&lab.lab, "vsftpd/files")?,
        directory(&lab.lab, "vsftpd/empty")?,
    );
    fs::set_permissions(&files, fs::Permissions::from_mode(0o555))?;
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o555))?;
    let config = dir.join("vsftpd.conf");
    fs::write(
        &config,
        format!(
            "listen=NO\nlisten_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
             ftp_username=daemon\nnopriv_user=nobody\nanon_root={}\nsecure_chroot_dir={}\n\
             no_anon_password=YES\nseccomp_sandbox=NO\nxferlog_enable=NO\nisolate_network=NO\n",
            files.display(),
            empty.display()
        ),
    )?;
    let words = ["vsftpd", config.to_str().context("a path")?];
    start(lab, dir.clone(), &words, ":21 ")
}

/// A DNS server that knows `small.test`, `noted.test`, which has an IPv4 address alone, and `large.test`, whose answer has several kilobytes.
pub fn dnsmasq(lab: &GatewayLab) -> Result<Peer> {
    dnsmasq_in(&lab.lab, &lab.server)
}

/// The same in any namespace.
pub fn dnsmasq_in(lab: &Lab, namespace: &Namespace) -> Result<Peer> {
    let dir = directory(lab, "dnsmasq")?;
    let mut config = format!(
        "keep-in-foreground\nno-resolv\nno-hosts\nno-daemon\nedns-packet-max=8192\nuser=root\n\
         local=/test/\npid-file={}/pid\naddress=/small.test/192.0.2.77\n\
         host-record=noted.test,192.0.2.78\n",
        dir.display()
    );
    for n in 0..14 {
        config += &format!("txt-record=large.test,{n}{}\n", "x".repeat(240));
    }
    let path = dir.join("dnsmasq.conf");
    fs::write(&path, config)?;
    let words = ["dnsmasq", "-C", path.to_str().context("a path")?];
    start_in(lab, namespace, dir.clone(), &words, ":53 ")
}

/// The second address of the STUN server.
pub const SECOND4: &str = "203.0.113.11";

/// A STUN server on two addresses and two ports, as RFC 5780 wants it.
pub fn turnserver(lab: &GatewayLab) -> Result<Peer> {
    let dir = directory(&lab.lab, "coturn")?;
    lab.server
        .batch(&format!("addr add {SECOND4}/24 dev eth0\n"))?;
    let (first, path) = (SERVER4.to_string(), dir.display().to_string());
    let words = [
        "turnserver",
        "-n",
        "-L",
        &first,
        "-L",
        SECOND4,
        "--no-auth",
        "--no-tls",
        "--no-dtls",
        "--no-cli",
        "--stun-only",
        "--log-file",
        "stdout",
        "--pidfile",
        &format!("{path}/pid"),
        "--userdb",
        &format!("{path}/db"),
    ];
    start(lab, dir.clone(), &words, ":3478 ")
}

/// The server's address as it stands in a URL.
pub fn in_url(v6: bool) -> String {
    if v6 {
        format!("[{SERVER6}]")
    } else {
        SERVER4.to_string()
    }
}
