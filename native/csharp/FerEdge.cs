// Facial expressions for Unity and .NET: the C library of fer-edge, fer_edge.h, by P/Invoke. C# 7.3, no unsafe code.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace FerEdge
{
    /// <summary>Order of the bytes of a pixel. Unity's Color32 is RGBA.</summary>
    public enum PixelFormat { RGB = 0, BGR = 1, RGBA = 2, BGRA = 3, Grey = 4 }

    /// <summary>Reasons not to trust a label.</summary>
    [Flags]
    public enum Warnings { None = 0, Small = 1, CutOff = 2, NoContrast = 4, Noise = 8, Blurred = 16 }

    /// <summary>Failure of the library; Status is fer_status.</summary>
    public sealed class FerEdgeException : Exception
    {
        public readonly int Status;
        public FerEdgeException(int status, string message) : base(message) { Status = status; }
    }

    /// <summary>Face in a frame; coordinates are pixels from the upper left corner.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Face
    {
        double x, y, width, height;
        double leftEyeX, leftEyeY, rightEyeX, rightEyeY, noseX, noseY, leftMouthX, leftMouthY, rightMouthX, rightMouthY;
        int kind, reserved;

        /// <summary>The frame is a face crop.</summary>
        public static readonly Face WholeFrame = new Face();

        public static Face Box(double x, double y, double width, double height)
        {
            return new Face { x = x, y = y, width = width, height = height, kind = 1 };
        }

        /// <summary>Face that is aligned by its points.</summary>
        /// <param name="points">x, y of left eye, right eye, nose, left and right corner of the mouth.</param>
        public static Face WithPoints(double x, double y, double width, double height, double[] points)
        {
            if (points == null || points.Length != 10)
                throw new ArgumentException("points have another length; expected 10 numbers: x, y of five points");
            return new Face
            {
                x = x, y = y, width = width, height = height, kind = 2,
                leftEyeX = points[0], leftEyeY = points[1], rightEyeX = points[2], rightEyeY = points[3],
                noseX = points[4], noseY = points[5], leftMouthX = points[6], leftMouthY = points[7],
                rightMouthX = points[8], rightMouthY = points[9],
            };
        }
    }

    /// <summary>Expression of a face.</summary>
    public sealed class Expression
    {
        /// <summary>Label with the highest probability, and this probability.</summary>
        public string Label;
        public float Score;
        /// <summary>Probability of each label, in the order of Recognizer.Labels.</summary>
        public float[] Scores;
        /// <summary>True if the score is high enough and there is no warning.</summary>
        public bool Certain;
        public Warnings Warnings;
    }

    /// <summary>Recognizer of one bundle. It is used by one thread at a time.</summary>
    public sealed class Recognizer : IDisposable
    {
        const uint AbiVersion = 1;
        readonly Handle handle;

        /// <summary>Labels of the model.</summary>
        public readonly IReadOnlyList<string> Labels;

        /// <summary>Open a bundle file.</summary>
        /// <param name="engine">"onnxruntime" or "openvino"; null: the first engine that the library has.</param>
        /// <param name="threads">CPU threads of an inference; 0: the engine's default.</param>
        /// <param name="batch">Faces of one inference, 1 by default.</param>
        /// <param name="publicKey">Text of the PEM file of the key that must have signed the bundle; null: any bundle.
        /// Needs a library built with FER_EDGE_SIGNATURES.</param>
        public Recognizer(string path, string engine = null, int threads = 0, int batch = 1, string publicKey = null)
            : this(Utf8(path), null, engine, threads, batch, publicKey) { }

        /// <summary>Open a bundle in memory, such as a TextAsset or a file inside an Android package.</summary>
        public Recognizer(byte[] bundle, string engine = null, int threads = 0, int batch = 1)
            : this(null, bundle, engine, threads, batch, null) { }

        Recognizer(byte[] path, byte[] bundle, string engine, int threads, int batch, string publicKey)
        {
            if (fer_abi_version() != AbiVersion)
                throw new FerEdgeException(1, "the library has ABI " + fer_abi_version() + "; expected " + AbiVersion);
            var message = new byte[512];
            var name = engine == null ? default(GCHandle) : GCHandle.Alloc(Utf8(engine), GCHandleType.Pinned);
            try
            {
                var options = new Options { threads = threads, batch = batch };
                if (engine != null) options.engine = name.AddrOfPinnedObject();
                Check(publicKey != null ? fer_open_signed(path, Utf8(publicKey), ref options, out handle, message)
                    : bundle == null ? fer_open(path, ref options, out handle, message)
                    : fer_open_memory(bundle, (UIntPtr)bundle.Length, ref options, out handle, message), message);
            }
            finally
            {
                if (engine != null) name.Free();
            }
            var labels = new string[fer_label_count(handle)];
            for (var i = 0; i < labels.Length; i++) labels[i] = Text(fer_label(handle, i));
            Labels = labels;
        }

        /// <summary>Recognise the expressions of faces of one frame.</summary>
        /// <param name="pixels">Array of bytes or of pixels, such as Color32[]; rows have no padding.</param>
        /// <param name="faces">Faces of the frame.</param>
        /// <param name="bottomUp">Whether the first row of the array is the lowest, as in Unity's textures.</param>
        public Expression[] Recognize<T>(T[] pixels, int width, int height, PixelFormat format, Face[] faces,
            bool bottomUp = false) where T : struct
        {
            var channels = format == PixelFormat.Grey ? 1 : format < PixelFormat.RGBA ? 3 : 4;
            var bytes = (long)width * height * channels;
            if (pixels == null || width < 1 || height < 1 || bytes > (long)pixels.Length * Marshal.SizeOf(typeof(T)))
                throw new ArgumentException("the array is smaller than " + width + " x " + height + " pixels");
            var pin = GCHandle.Alloc(pixels, GCHandleType.Pinned);
            try
            {
                var stride = (long)width * channels;
                var first = bottomUp ? stride * (height - 1) : 0;
                return Recognize(new IntPtr(pin.AddrOfPinnedObject().ToInt64() + first), width, height, format, faces,
                    bottomUp ? -stride : stride);
            }
            finally
            {
                pin.Free();
            }
        }

        /// <summary>Recognise the expressions of faces of a frame in native memory.</summary>
        /// <param name="pixels">Address of the first pixel of the upper row.</param>
        /// <param name="stride">Bytes from a row to the one below; negative if rows are stored bottom-up.</param>
        public Expression[] Recognize(IntPtr pixels, int width, int height, PixelFormat format, Face[] faces,
            long stride)
        {
            var frame = new Frame { pixels = pixels, stride = (IntPtr)stride, width = width, height = height,
                format = (int)format };
            var results = new Result[faces.Length];
            var scores = new float[faces.Length * Labels.Count];
            var message = new byte[512];
            Check(fer_recognize(handle, ref frame, faces, (UIntPtr)faces.Length, results, scores, message), message);
            var expressions = new Expression[faces.Length];
            for (var i = 0; i < faces.Length; i++)
            {
                expressions[i] = new Expression { Label = Labels[results[i].label], Score = results[i].score,
                    Certain = results[i].certain != 0, Warnings = (Warnings)results[i].warnings,
                    Scores = new float[Labels.Count] };
                Array.Copy(scores, i * Labels.Count, expressions[i].Scores, 0, Labels.Count);
            }
            return expressions;
        }

        /// <summary>Release the model, after the call of another thread has returned.</summary>
        public void Dispose() { handle.Dispose(); }

        sealed class Handle : SafeHandle
        {
            Handle() : base(IntPtr.Zero, true) { }
            public override bool IsInvalid { get { return handle == IntPtr.Zero; } }
            protected override bool ReleaseHandle()
            {
                fer_close(handle);
                return true;
            }
        }

        static void Check(int status, byte[] message)
        {
            if (status == 0) return;
            var length = Array.IndexOf(message, (byte)0);
            throw new FerEdgeException(status, Encoding.UTF8.GetString(message, 0, length));
        }

        static byte[] Utf8(string text) { return Encoding.UTF8.GetBytes(text + "\0"); }

        static string Text(IntPtr utf8)
        {
            var length = 0;
            while (Marshal.ReadByte(utf8, length) != 0) length++;
            var bytes = new byte[length];
            Marshal.Copy(utf8, bytes, 0, length);
            return Encoding.UTF8.GetString(bytes);
        }

#if UNITY_IOS && !UNITY_EDITOR
        const string Library = "__Internal";
#else
        const string Library = "fer_edge";
#endif

        [StructLayout(LayoutKind.Sequential)]
        struct Options { public IntPtr engine; public int threads, batch; }

        [StructLayout(LayoutKind.Sequential)]
        struct Frame { public IntPtr pixels, stride; public int width, height, format; }

        [StructLayout(LayoutKind.Sequential)]
        struct Result
        {
            public double width, height, share, contrast, noise, sharpness;
            public int status, label;
            public float score;
            public int certain, warnings, reserved;
        }

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        static extern uint fer_abi_version();
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        static extern int fer_open(byte[] path, ref Options options, out Handle handle, [In, Out] byte[] message);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        static extern int fer_open_memory(byte[] data, UIntPtr size, ref Options options, out Handle handle,
            [In, Out] byte[] message);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        static extern int fer_open_signed(byte[] path, byte[] publicKey, ref Options options, out Handle handle,
            [In, Out] byte[] message);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        static extern void fer_close(IntPtr handle);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        static extern int fer_label_count(Handle handle);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        static extern IntPtr fer_label(Handle handle, int index);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        static extern int fer_recognize(Handle handle, ref Frame frame, [In] Face[] faces, UIntPtr count,
            [In, Out] Result[] results, [In, Out] float[] probabilities, [In, Out] byte[] message);
    }
}
