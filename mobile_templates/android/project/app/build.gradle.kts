import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = «app_id | kotlin_string»
    compileSdk = «compile_sdk»

    defaultConfig {
        applicationId = «app_id | kotlin_string»
        minSdk = «min_sdk»
        targetSdk = «target_sdk»
        versionCode = 1
        versionName = "1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
    }

    androidResources {
        // The model is mapped into memory where it lies in the APK.
        noCompress += listOf("«model_file.rpartition('.')[2]»")
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

kotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_17
        // With -PwarningsAsErrors, as in continuous integration: a newer compiler's new warning stops nobody's work.
        allWarningsAsErrors = providers.gradleProperty("warningsAsErrors").isPresent
    }
}

dependencies {
    implementation(libs.runtime)
    testImplementation(libs.junit)
    testImplementation(libs.json) // the framework brings it on a phone; in unit tests Android's own is hollow
    androidTestImplementation(libs.junit)
    androidTestImplementation(libs.test.runner)
}

val modelFiles = listOf(«model_file | kotlin_string», "labels.txt", "contract.json", "golden/golden.json")
    .map { layout.projectDirectory.file("src/main/assets/$it").asFile }
val checkModel = tasks.register("checkModel") {
    description = "Fails where the model, or what belongs to it, is missing from the assets."
    val files = modelFiles
    inputs.files(files)
    doLast {
        val missing = files.filterNot(File::isFile)
        if (missing.isNotEmpty()) {
            throw GradleException(
                "The model is not complete: ${missing.joinToString()} is missing. " +
                    "Make the project again with squeeze-export, or put the file back; README.md says how to replace a model.",
            )
        }
    }
}
tasks.matching { it.name == "preBuild" }.configureEach { dependsOn(checkModel) }
