plugins {
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.kotlin.android) apply false
}

// `gradle wrapper` writes this version and checksum, whichever Gradle it is started with.
tasks.wrapper {
    gradleVersion = "«gradle_version»"
    distributionSha256Sum = "«gradle_sha256»"
}
